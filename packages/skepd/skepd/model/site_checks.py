"""Checks of the host's sections of site.toml, among themselves and with networks and guests."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from .errors import DefinitionError, nearest
from .facts import HostFacts
from .schema import Place
from .site import Site


def check_host_part(site: Site) -> list[DefinitionError]:
    """Everything that is wrong, with file and line."""
    return list(_all(site, Place(site.source)))


def _all(site: Site, root: Place) -> Iterator[DefinitionError]:
    yield from _storage(site, root.at("storage"))
    yield from _interfaces(site, root)
    yield from _management(site, root.at("host").at("management"))
    yield from _networks(site, root.at("network"))
    yield from _schedules(site, root)


def _storage(site: Site, place: Place) -> Iterator[DefinitionError]:
    storage = site.host_part.storage
    if storage.backend == "files":
        for key in ("pool", "mirrors"):
            if getattr(storage, key):
                yield place.at(key).error("files need no pool", 'leave it out, or write backend = "zfs"')
        return
    if storage.pool is None:
        yield place.error("zfs needs a pool", 'write e.g. pool = "tank"')
    devices: set[str] = set()
    for number, mirror in enumerate(storage.mirrors):
        if len(mirror) < 2:
            yield (
                place.at("mirrors").at(number).error("a mirror has two or more devices", 'write e.g. ["ada0", "ada1"]')
            )
        for position, device in enumerate(mirror):
            if device in devices:
                spot = place.at("mirrors").at(number).at(position)
                yield spot.error(f'"{device}" is in another mirror already', "write each device once")
        devices.update(mirror)


def _interfaces(site: Site, root: Place) -> Iterator[DefinitionError]:
    part = site.host_part
    seen: dict[tuple[str, int], str] = {}
    for vlan in part.vlans.values():
        place = root.at("vlan").at(vlan.name)
        if vlan.name in part.uplinks:
            yield place.error(f'"{vlan.name}" is an uplink already', "give the VLAN another name")
        yield from _uplink(site, place, vlan.uplink, vlan.vlan)
        other = seen.setdefault((vlan.uplink, vlan.vlan), vlan.name)
        if other != vlan.name:
            yield place.at("vlan").error(f'this is the VLAN of "{other}" already', "write another VLAN")
    addresses: dict[str, str] = {}
    management = part.host.management
    if management is not None and management.address:
        addresses[management.address.split("/")[0]] = "management"
    for vlan in part.vlans.values():
        for number, text in enumerate(vlan.addresses):
            holder = addresses.setdefault(text.split("/")[0], vlan.name)
            if holder != vlan.name:
                spot = root.at("vlan").at(vlan.name).at("addresses").at(number)
                yield spot.error(f"{text} is the address of {holder} already", "write it once")


def _uplink(site: Site, place: Place, name: str, vlan: int | None) -> Iterator[DefinitionError]:
    """An uplink that is not declared, or that does not carry this VLAN."""
    uplink = site.host_part.uplinks.get(name)
    if uplink is None:
        hint = f"{nearest(name, site.host_part.uplinks, 'uplink')}; uplinks are declared as [uplink.NAME]"
        yield place.at("uplink").error(f'there is no uplink "{name}"', hint)
    elif vlan is not None and uplink.trunk and vlan not in uplink.trunk:
        carried = ", ".join(str(number) for number in uplink.trunk)
        yield place.at("vlan").error(
            f"{name} does not carry VLAN {vlan}", f"write one of {carried}, or add it to trunk"
        )


def _management(site: Site, place: Place) -> Iterator[DefinitionError]:
    management = site.host_part.host.management
    if management is None:
        return
    known = [*site.host_part.uplinks, *site.host_part.vlans]
    if management.interface not in known:
        problem = f'there is no interface "{management.interface}"'
        yield place.at("interface").error(problem, nearest(management.interface, known, "uplink or VLAN of the host"))
    if management.gateway is None:
        return
    if management.address is None:
        yield place.at("gateway").error("a gateway needs an address", 'write e.g. address = "192.168.10.2/24"')
        return
    own = ipaddress.ip_interface(management.address)
    gateway = ipaddress.ip_address(management.gateway)
    if gateway not in own.network or gateway == own.ip:
        hint = f"write another address of {own.network}"
        yield place.at("gateway").error(f"{gateway} is no neighbour of {management.address}", hint)


def _networks(site: Site, root: Place) -> Iterator[DefinitionError]:
    for network in site.desired.networks.values():
        place = root.at(network.name)
        if network.kind == "nat" and not site.host_part.host.forwarding:
            hint = "write forwarding = true below [host]: it is the administrator's leave"
            yield place.at("kind").error("a nat network needs the host to forward", hint)
        if network.uplink is not None:
            yield from _uplink(site, place, network.uplink, network.vlan)


def _schedules(site: Site, root: Place) -> Iterator[DefinitionError]:
    part = site.host_part
    for schedule in part.schedules.values():
        place = root.at("schedule").at(schedule.name)
        yield from _guests(site, place, schedule.guests)
        if not schedule.times:
            yield place.at("times").error("there is no time", 'write e.g. times = ["07:00", "19:00"]')
        keep = schedule.keep
        if not any((keep.last, keep.hourly, keep.daily, keep.weekly, keep.monthly)):
            yield place.at("keep").error("nothing would be kept", "write e.g. keep = { daily = 14 }")
    for replication in part.replications.values():
        place = root.at("replication").at(replication.name)
        yield from _guests(site, place, replication.guests)
        schedule_of = part.schedules.get(replication.schedule)
        if schedule_of is None:
            hint = nearest(replication.schedule, part.schedules, "schedule")
            yield place.at("schedule").error(f'there is no schedule "{replication.schedule}"', hint)
        else:
            yield from _scheduled(place, replication.guests, schedule_of.guests)


def _guests(site: Site, place: Place, names: tuple[str, ...]) -> Iterator[DefinitionError]:
    guests: Mapping[str, Any] = site.desired.guests
    for number, name in enumerate(names):
        if name != "*" and name not in guests:
            spot = place.at("guests").at(number)
            yield spot.error(f'there is no guest "{name}"', nearest(name, guests, "guest"))
    if not names:
        yield place.at("guests").error("there is no guest", 'write names of guests, or "*"')
    elif "*" in names and len(names) > 1:
        yield place.at("guests").error('"*" is all guests', 'write "*" alone, or names alone')


def _scheduled(place: Place, names: tuple[str, ...], scheduled: tuple[str, ...]) -> Iterator[DefinitionError]:
    """Guests that are to be sent but have no snapshots."""
    for number, name in enumerate(names):
        if "*" not in scheduled and name not in scheduled:
            what = "all guests" if name == "*" else name
            hint = "add it to the schedule's guests, or name another schedule"
            yield place.at("guests").at(number).error(f"the schedule makes no snapshots of {what}", hint)


def check_platform(site: Site, facts: HostFacts) -> list[DefinitionError]:
    """Whether the site is meant for this host's platform. The simulated host takes any."""
    wanted = site.host_part.host.platform
    if wanted is None or facts.platform in (wanted, "sim"):
        return []
    place = Place(site.source).at("host").at("platform")
    return [place.error(f"this site is for {wanted}, and the host runs {facts.platform}", "apply it on another host")]
