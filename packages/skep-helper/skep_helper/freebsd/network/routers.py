"""ApplyRouter and RemoveRouter: a jail with a leg in each network, changed in place."""

from __future__ import annotations

import ipaddress

from ...handlers import Context, Failure
from ...policy import Policy
from ...vocabulary import ApplyRouter, Rejected, RemoveRouter, RouterSpec
from ...vocabulary.network import RouterLeg
from . import ifconfig, names, pf, probes, reading, stacks, translation
from .records import NetworkRecord, Records, RouterRecord, locked
from .system import System

_SYSCTLS = {"net.inet.ip.forwarding": 1, "net.inet6.ip6.forwarding": 1, "net.inet6.ip6.dad_count": 0,
            "net.inet.ip.redirect": 0, "net.inet6.ip6.redirect": 0}  # fmt: skip


def apply_router(context: Context, request: ApplyRouter) -> None:
    """Bring a router to its spec. Raises Rejected, Failure: missing (a network), exists (a foreign jail)."""
    with locked(context.policy, f"ApplyRouter {request.router.name}"):
        Router(System(), context.policy).apply(request.router)


def remove_router(context: Context, request: RemoveRouter) -> None:
    """Remove a router; its legs end with it. Repeatable."""
    with locked(context.policy, f"RemoveRouter {request.router}"):
        Router(System(), context.policy).remove(request.router)


class Router:
    def __init__(self, system: System, policy: Policy) -> None:
        self.system, self.policy, self.records = system, policy, Records(policy)

    def apply(self, spec: RouterSpec) -> None:
        networks = check(self.records, spec)
        probes.load_modules(self.system)
        record = self.records.router(spec.name)
        same = record is not None and record.done and record.spec == spec
        if same and record is not None and not reading.missing_of_router(self.system, self.policy, record):
            return
        name = names.router_jail(spec.name)
        standing = self.system.jail_id(name)
        if standing and (record is None or record.jid not in (0, standing)):
            raise Failure("exists", f"jail {name} was not made by Skep: remove or rename it")
        before = record.spec if record is not None and standing else None
        record = record or RouterRecord(spec)
        record.spec, record.done = spec, False
        self.records.save(record)
        record.jid = standing or self.system.make_jail(name)
        self.records.save(record)
        self._build(record, before, networks)
        record.done = True
        self.records.save(record)

    def remove(self, name: str) -> None:
        record = self.records.router(name)
        if record is None:
            return
        standing = self.system.jail_id(names.router_jail(name))
        if standing and standing == record.jid:
            legs = [names.leg(self.policy, name, leg.network)[1] for leg in record.spec.legs]
            self._destroy(standing, legs)  # their other ends go with them
            self.system.remove_jail(standing)
        self.records.forget("router", name)

    def _destroy(self, jid: int, names_: list[str]) -> None:
        """On the host, where they were made: elsewhere the kernel does not know whose they are (ENXIO)."""
        standing = self.system.enter(jid, self.system.interfaces) if jid else self.system.interfaces()
        for name in names_:
            if name in standing and jid:
                self.system.run(ifconfig.take_back(name, jid))
            if name in standing:
                self.system.run(ifconfig.destroy(name))

    def _build(self, record: RouterRecord, before: RouterSpec | None, networks: dict[str, NetworkRecord]) -> None:
        spec, system = record.spec, self.system
        legs = {leg.network: names.leg(self.policy, spec.name, leg.network) for leg in spec.legs}
        old = [names.leg(self.policy, spec.name, leg.network)[1] for leg in before.legs] if before else []
        gone = [name for name in old if name not in {theirs for _, theirs in legs.values()}]
        interfaces = {network: theirs for network, (_, theirs) in legs.items()}
        rules = translation.text(spec, interfaces).encode()

        def prepare() -> list[str]:
            """The translation stands before the legs do: nothing leaves with an inner address."""
            for name, value in _SYSCTLS.items():
                system.set_sysctl(name, value)
            system.run(ifconfig.change("lo0", "up"))
            system.run(pf.load(), rules)
            system.start_pf()
            return sorted(system.interfaces())

        self._destroy(record.jid, gone)
        inside = set(system.enter(record.jid, prepare))
        made = [self._set_leg(spec, networks[leg.network], legs[leg.network], record.jid, inside) for leg in spec.legs]
        system.enter(record.jid, lambda: self._number(spec, before, interfaces, any(made)))

    def _set_leg(
        self, spec: RouterSpec, network: NetworkRecord, ends: tuple[str, str], jid: int, inside: set[str]
    ) -> bool:
        """A pair between the network's bridge and the router's stack; whether it had to be made."""
        system, (port, leg), mtu = self.system, ends, str(network.spec.mtu)
        there = stacks.jail_of(system, network, f"router {spec.name}")
        standing = set(system.enter(there, system.interfaces))
        made = not (leg in inside and port in standing)
        if made:
            self._discard(ends, {there: standing, jid: inside, 0: set(system.interfaces())})
            first = system.run([ifconfig.IFCONFIG, "epair", "create"]).decode().strip()
            for name, end, target in ((first, port, there), (first[:-1] + "b", leg, jid)):
                system.run(ifconfig.change(name, "name", end, "mtu", mtu))
                system.run(ifconfig.move(end, target))

        def join() -> None:
            system.run(pf.load(pf.open_anchor(port)), pf.open_text(port).encode())
            system.run(ifconfig.change(port, "ether", names.mac(port), "mtu", mtu, *ifconfig.SILENT, "up"))
            if port not in system.members(names.BRIDGE):
                system.run(ifconfig.add_member(names.BRIDGE, port))

        system.enter(there, join)
        return made

    def _discard(self, ends: tuple[str, str], places: dict[int, set[str]]) -> None:
        """Remove what is left of a pair: destroying one end destroys the other."""
        for jid, standing in places.items():
            for name in ends:
                if name in standing:
                    self._destroy(jid, [name])
                    return

    def _number(self, spec: RouterSpec, before: RouterSpec | None, interfaces: dict[str, str], anew: bool) -> None:
        """In the router's jail: addresses, routes, and the end of flows whose translation is gone."""
        extra = {f"{address}/32" for address in translation.outside_addresses(spec)}
        for leg in spec.legs:
            self._set_addresses(leg, interfaces[leg.network], extra if leg.snat else set())
        wanted = {(route.prefix, route.via) for route in spec.routes}
        standing = {(route.prefix, route.via) for route in before.routes} if before else set()
        stacks.set_routes(self.system, standing, wanted, anew=anew)
        gone = translation.translated(before) - translation.translated(spec) if before else set()
        ends = {end for translated in gone for end in translated[1:] if isinstance(end, str)}
        for address in sorted(ends):
            for argv in pf.end_states_of(address):
                self.system.run(argv)

    def _set_addresses(self, leg: RouterLeg, name: str, extra: set[str]) -> None:
        self.system.run(ifconfig.change(name, "ether", leg.mac, "up"))
        wanted = {str(ipaddress.ip_interface(address)) for address in leg.addresses} | extra
        if any(":" in address for address in wanted):
            self.system.run(ifconfig.change(name, "inet6", "-ifdisabled", "auto_linklocal"))
        stacks.set_addresses(self.system, name, wanted)


def check(records: Records, spec: RouterSpec) -> dict[str, NetworkRecord]:
    """The records of the networks of the legs."""
    found = {}
    for leg in spec.legs:
        network = records.network(leg.network)
        if network is None:
            raise Failure("missing", f"router {spec.name}: network {leg.network} is not on this host: apply it first")
        found[leg.network] = network
    if len(found) != len(spec.legs):
        raise Rejected(f"router {spec.name}: two legs in one network")
    ends = [end for floating in spec.floating for end in (floating.outside, floating.inside)]
    ends += [end for forward in spec.forwards for end in (forward.outside, forward.inside)]
    for end in ends:
        if ipaddress.ip_address(end).version != 4:
            raise Rejected(f"router {spec.name}: {end}: only IPv4 addresses are translated, IPv6 is routed as it is")
    if ends and not any(leg.snat for leg in spec.legs):
        raise Rejected(f"router {spec.name}: floating addresses and forwards need a leg with snat")
    return found
