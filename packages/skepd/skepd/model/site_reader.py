"""Reading site.toml."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .addresses import complete_subnet
from .checks import check
from .definitions import load
from .desired import Desired
from .errors import nearest
from .names import Kind, Ref
from .objects import CloudInit, Guest, Network, Nic, Port
from .schema import Collector, Place, Section, Source, read_section, read_table
from .site import HostPart, Site, Storage
from .site_checks import check_host_part
from .site_sections import HOST_SECTIONS, NAMED_SECTIONS, SiteNic, SiteSubnet
from .types import Table


def parse_site(text: str, file: str, others: Desired | None = None) -> Site:
    """Read a site.toml and check it; raises DefinitionError(s) that name file and line.

    others: objects of the host that the site may refer to without describing them (those of other managers).
    """
    table, source = load(text, file)
    reader = _Reader(table, source)
    site = reader.read()
    reader.collector.errors += check_host_part(site)
    # What is the others' own fault is not this file's.
    found = (site.locate(error) for error in check(_beside(others, site.desired)))
    reader.collector.errors += [error for error in found if error.file]
    reader.collector.finish()
    return site


def _beside(others: Desired | None, site: Desired) -> Desired:
    """Both, the site's last, so that of two that clash the site's is named."""
    if others is None:
        return site
    both: dict[str, Any] = {}
    for kind in Kind:
        theirs, ours = getattr(others, f"{kind}s"), getattr(site, f"{kind}s")
        both[f"{kind}s"] = {name: value for name, value in theirs.items() if name not in ours} | dict(ours)
    return Desired(**both)


class _Reader:
    def __init__(self, table: dict[str, Any], source: Source) -> None:
        self.table = table
        self.root = Place(source)
        self.collector = Collector()
        self.places: dict[Ref, tuple[str, ...]] = {}

    def read(self) -> Site:
        known = [*HOST_SECTIONS, *NAMED_SECTIONS]
        for name in self.table:
            if name not in known:
                self.collector.errors.append(self.root.at(name).error("there is no such section", nearest(name, known)))
        if "host" not in self.table:
            hint = 'write [host] and below it name = "..."'
            self.collector.errors.append(replace(self.root.error("the section [host] is missing", hint), line=1))
        once = {name: self._once(name, section) for name, section in HOST_SECTIONS.items()}
        named = {name: self._named(name, section) for name, (section, _) in NAMED_SECTIONS.items()}
        guests, ports = self._guests(named["guest"], once["defaults"] or CloudInit(), named["port"])
        self.collector.finish()
        host_part = HostPart(
            host=once["host"],
            storage=once["storage"] or Storage(),
            uplinks=named["uplink"],
            vlans=named["vlan"],
            schedules=named["schedule"],
            replications=named["replication"],
            users=named["user"],
        )
        desired = Desired(
            images=named["image"],
            filters=named["filter"],
            networks={name: _complete(network) for name, network in named["network"].items()},
            routers=named["router"],
            ports=ports,
            guests=guests,
        )
        self._place(desired)
        source = self.root.source
        return Site(
            host_part=host_part,
            desired=desired,
            not_built=_not_built(host_part, source),
            places=self.places,
            source=source,
        )

    def _once(self, name: str, section: Section) -> Any:
        if name not in self.table:
            return None
        return self.collector.run(Table(section).read, self.table[name], self.root.at(name))

    def _named(self, name: str, section: Section) -> dict[str, Any]:
        place = self.root.at(name)
        tables = self.collector.run(read_table, self.table.get(name, {}), place) or {}
        found = {key: self.collector.run(self._entry, name, section, key, value) for key, value in tables.items()}
        return {key: value for key, value in found.items() if value is not None}

    def _entry(self, kind: str, section: Section, name: str, value: Any) -> Any:
        place = self.root.at(kind).at(name)
        own = Collector()
        own.run(NAMED_SECTIONS[kind][1].read, name, place)
        found = own.run(read_section, section, value, place, {"name": name})
        own.finish()
        return found

    def _guests(
        self, written: dict[str, Any], defaults: CloudInit, ports: dict[str, Port]
    ) -> tuple[dict[str, Guest], dict[str, Port]]:
        guests: dict[str, Guest] = {}
        ports = dict(ports)
        for name, guest in written.items():
            nics = []
            for number, nic in enumerate(guest.nics):
                place = self.root.at("guest").at(name).at("nic").at(number)
                connected = self.collector.run(self._nic, guest.name, nic, place, ports)
                nics.append(connected)
            cloud_init = _with_defaults(guest.cloud_init, defaults)
            guests[name] = replace(guest, nics=tuple(nics), cloud_init=cloud_init)
        return guests, ports

    def _nic(self, guest: str, nic: SiteNic, place: Place, ports: dict[str, Port]) -> Nic:
        """The card, its port put among `ports`."""
        if nic.port is not None:
            surplus = nic.said_too_much()
            if surplus:
                hint = f"leave out port, or write {surplus} at the port"
                raise place.at(surplus).error("this belongs to a port, and the card names one that exists", hint)
            return Nic(port=nic.port, model=nic.model, slot=nic.slot)
        if not nic.own["network"]:
            raise place.error("network is missing", 'write network = "..." (or port = "...")')
        name = f"{guest}.{nic.name}"
        if name in ports:
            raise place.error(f'there is a port "{name}" already', "give this card another name")
        ports[name] = Port(name=name, guest=guest, **nic.own)
        self.places[Ref(Kind.PORT, name)] = place.strings
        return Nic(port=name, model=nic.model, slot=nic.slot)

    def _place(self, desired: Desired) -> None:
        for kind in Kind:
            for name in getattr(desired, f"{kind}s"):
                self.places.setdefault(Ref(kind, name), (str(kind), name))


def _complete(network: Network) -> Network:
    """The network with its subnets filled in as its kind makes the default."""
    written: tuple[Any, ...] = network.subnets
    subnets = tuple(
        complete_subnet(
            network.kind,
            subnet.prefix,
            dhcp=subnet.dhcp,
            own=subnet.own,
            gateway=subnet.gateway,
            first=subnet.first,
            last=subnet.last,
            dns=subnet.dns,
            advertise=subnet.advertise,
        )
        for subnet in written
        if isinstance(subnet, SiteSubnet)
    )
    return replace(network, subnets=subnets)


def _with_defaults(cloud_init: CloudInit | None, defaults: CloudInit) -> CloudInit | None:
    if cloud_init is None or cloud_init.user_data is not None:
        return cloud_init
    user = cloud_init.user or defaults.user
    return replace(cloud_init, user=user, ssh_keys=cloud_init.ssh_keys or defaults.ssh_keys)


def _not_built(host_part: HostPart, source: Source) -> tuple[tuple[str, int], ...]:
    """The sections that ask for what is not carried out yet, in the order of the text."""
    paths: list[tuple[str, ...]] = []
    if host_part.storage.backend != "files":
        paths.append(("storage",))
    # Uplinks, VLANs and addresses of the host itself are the administrator's: `skep host prepare` prints their lines.
    for part, kind in (
        (host_part.schedules, "schedule"),
        (host_part.replications, "replication"),
        (host_part.users, "user"),
    ):
        paths += [(kind, name) for name in part]
    found = [(".".join(path), source.lines.line(path)) for path in paths]
    return tuple(sorted(found, key=lambda entry: entry[1]))
