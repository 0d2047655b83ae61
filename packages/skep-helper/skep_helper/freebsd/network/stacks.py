"""ApplyNetwork and RemoveNetwork: a network's jail brought to its spec, part by part, each part repeatable."""

from __future__ import annotations

import contextlib
import ipaddress
import time

from ...handlers import Context, Failure
from ...network import host_addresses
from ...policy import Policy
from ...vocabulary import ApplyNetwork, NetworkSpec, RemoveNetwork
from . import forwarding, ifconfig, names, netgraph, pf, probes, reading, rules, uplinks
from .records import NetworkRecord, Records, locked
from .responder import Responder
from .server import Server
from .system import System
from .uplinks import Ways

_NODES_END = 10.0
"""Seconds that netgraph nodes get to end."""


def apply_network(context: Context, request: ApplyNetwork) -> None:
    """Bring a network to its spec. Nothing is done when its digest stands and no part of it is missing."""
    with locked(context.policy, f"ApplyNetwork {request.network.name}"):
        Network(System(), context.policy).apply(request.network)


def remove_network(context: Context, request: RemoveNetwork) -> None:
    with locked(context.policy, f"RemoveNetwork {request.network}"):
        Network(System(), context.policy).remove(request.network)


class Network:
    def __init__(self, system: System, policy: Policy) -> None:
        self.system, self.policy, self.records = system, policy, Records(policy)

    def apply(self, spec: NetworkSpec) -> None:
        uplinks.check(self.system, self.policy, spec)
        probes.load_modules(self.system)
        record = self.records.network(spec.name)
        if record is not None and record.done and record.spec == spec and not self._missing(record):
            return
        standing = self.system.jail_id(names.network_jail(spec.name))
        if record is None and standing:
            message = f"jail {names.network_jail(spec.name)} was not made by Skep: remove or rename it"
            raise Failure("exists", message)
        record = record or NetworkRecord(spec)
        record.spec, record.done = spec, False
        self.records.save(record)
        self._enter(record, standing)
        self._build(record)
        record.done, record.built = True, spec
        self.records.save(record)

    def remove(self, name: str) -> None:
        record = self.records.network(name)
        if record is None:
            return
        users = [port.spec.name for port in self.records.ports(name)]
        users += [
            f"router {r.spec.name}" for r in self.records.routers() if name in {leg.network for leg in r.spec.legs}
        ]
        if users:
            raise Failure("busy", f"network {name} is used by {', '.join(users[:3])}: remove them first")
        jid = self._jid(record)
        inside = set(self.system.enter(jid, self.system.interfaces)) if jid else set()
        # First what was moved in: a jail's end would bring it back to the host some time later.
        uplinks.remove(self.system, self.policy, name, jid, inside)
        if jid:
            self.system.enter(jid, self._clear_nodes)
            self.system.remove_jail(jid)
        Server(self.policy, name).forget()
        Responder(self.policy, name).forget()
        self.records.forget("network", name)
        if not any(other.spec.kind == "nat" for other in self.records.networks()):
            forwarding.put_back(self.system, self.policy)

    def _clear_nodes(self) -> None:
        """In the jail. A stack that ends with two netgraph nodes that hold each other panics the kernel (seen on 13.2:
        "ng node ... won't die", in vnet_netgraph_uninit), so what a crash left of a guard goes before."""
        deadline = time.monotonic() + _NODES_END
        while left := [name for name, (kind, _) in self.system.nodes().items() if kind in ("bpf", "vlan")]:
            if time.monotonic() > deadline:
                raise Failure("failed", f"netgraph nodes do not end ({', '.join(left[:3])}); the jail is left standing")
            for name in left:
                with contextlib.suppress(Failure):  # one that lost its last hook ends by itself
                    self.system.run([netgraph.NGCTL, "shutdown", f"{name}:"])

    def _missing(self, record: NetworkRecord) -> str:
        stack = reading.read_stack(self.system, self.policy, record)
        return reading.missing(record, stack, reading.ask_host(self.system, [record]))

    def _jid(self, record: NetworkRecord) -> int:
        """The jail of a network, 0 when it is gone (or another of its name was made meanwhile)."""
        standing = self.system.jail_id(names.network_jail(record.spec.name))
        return record.jid if standing and standing == record.jid else 0

    def _enter(self, record: NetworkRecord, standing: int) -> None:
        if not standing:
            record.jid, record.built = self.system.make_jail(names.network_jail(record.spec.name)), None
        elif record.jid == 0:  # made, but the record of it was not written: a crash between the two
            record.jid = standing
        elif record.jid != standing:
            message = f"jail {names.network_jail(record.spec.name)} is not the one that Skep made: remove it"
            raise Failure("conflict", message)
        self.records.save(record)

    def _build(self, record: NetworkRecord) -> None:
        spec, jid = record.spec, record.jid
        inside = set(self.system.enter(jid, self.system.interfaces))
        anew = record.built is None or uplinks.differ(record.built, spec)
        if anew:
            uplinks.remove(self.system, self.policy, spec.name, jid, inside)
            inside = set(self.system.enter(jid, self.system.interfaces))
        ways = uplinks.apply(self.system, self.policy, spec, jid, inside)
        ways.anew |= anew
        record.members, record.inside, record.outside = ways.members, ways.inside, ways.outside
        record.joined = ways.joined
        self.records.save(record)
        self.system.enter(jid, lambda: Inside(self.system, self.policy, record, ways).build())


class Inside:
    """What is done in the jail, by a process that is in it."""

    def __init__(self, system: System, policy: Policy, record: NetworkRecord, ways: Ways) -> None:
        self.system, self.policy, self.record, self.spec, self.ways = system, policy, record, record.spec, ways

    def build(self) -> None:
        standing = self.system.interfaces()
        for name, value in sysctls(self.spec).items():
            self.system.set_sysctl(name, value)
        self._make_bridge(standing)
        self._load_rules()
        self._join([names.OWN_PORT, *self.ways.members])
        self._number()
        Server(self.policy, self.spec.name).apply(self.system, self.spec)
        Responder(self.policy, self.spec.name).apply(self.system, self.spec)

    def _make_bridge(self, standing: dict[str, int]) -> None:
        run, mtu = self.system.run, str(self.spec.mtu)
        if names.BRIDGE not in standing:
            run([ifconfig.IFCONFIG, names.BRIDGE, "create"])
        if names.OWN not in standing or names.OWN_PORT not in standing:
            for name in (names.OWN, names.OWN_PORT):
                if name in standing:
                    run(ifconfig.destroy(name))
                    break
            first = run([ifconfig.IFCONFIG, "epair", "create"]).decode().strip()
            run(ifconfig.change(first, "ether", names.mac(self.spec.name, names.OWN), "name", names.OWN, "mtu", mtu))
            run(ifconfig.change(first[:-1] + "b", "name", names.OWN_PORT, "mtu", mtu))
        run(ifconfig.change("lo0", "up"))
        run(ifconfig.change(names.BRIDGE, *ifconfig.SILENT, "up"))

    def _load_rules(self) -> None:
        """Before anything can pass the bridge. The rules of ports are in anchors, which a reload leaves alone."""
        self.system.run(pf.load(), pf.main_ruleset(self.ways.nat).encode())
        for interface in (names.OWN, names.OWN_PORT, *self.ways.members):
            self.system.run(pf.load(pf.open_anchor(interface)), pf.open_text(interface).encode())
        for group, addresses in self.record.groups.items():
            self.system.run(pf.replace_table(rules.table(group)), "\n".join(addresses).encode())
        self.system.start_pf()

    def _join(self, wanted: list[str]) -> None:
        """One MTU for all members: when it changes, all leave the bridge for a moment."""
        mtu, members = str(self.spec.mtu), self.system.members(names.BRIDGE)
        if members and self.system.mtu(names.BRIDGE) != self.spec.mtu:
            self.system.run(ifconfig.remove_members(names.BRIDGE, members))
            wanted, members = [*wanted, *(name for name in members if name not in wanted)], []
        for name in wanted:
            self.system.run(ifconfig.change(name, "mtu", mtu, *ifconfig.SILENT, "up"))
            if name not in members:
                self.system.run(ifconfig.add_member(names.BRIDGE, name))
        for name in (names.OWN, *self.ways.inside):
            self.system.run(ifconfig.change(name, "mtu", mtu, "up"))

    def _number(self) -> None:
        """Addresses of the stack, and its routes."""
        run = self.system.run
        own = {
            f"{ipaddress.ip_address(subnet.own)}/{ipaddress.ip_network(subnet.prefix, strict=False).prefixlen}"
            for subnet in self.spec.subnets
            if subnet.own
        }
        if any(":" in address for address in own):
            run(ifconfig.change(names.OWN, "inet6", "-ifdisabled", "auto_linklocal"))
        set_addresses(self.system, names.OWN, own)
        wanted = routes(self.spec)
        if self.ways.nat is not None:
            set_addresses(self.system, self.ways.nat.interface, {host_addresses.nat_link(self.spec)[1]})
        built = self.record.built
        set_routes(self.system, routes(built) if built is not None else set(), wanted, anew=self.ways.anew)


def set_addresses(system: System, name: str, wanted: set[str]) -> None:
    """Add and remove until the interface has these ADDRESS/LENGTH."""
    standing = set(ifconfig.parse(system.run([ifconfig.IFCONFIG, name]).decode())[name].addresses)
    for address in sorted(standing - wanted):
        system.run(ifconfig.remove_address(name, address))
    for address in sorted(wanted - standing):
        system.run(ifconfig.add_address(name, address))


def set_routes(
    system: System, before: set[tuple[str, str]], wanted: set[tuple[str, str]], *, anew: bool = False
) -> None:
    """From these (prefix, via) to those. anew: an interface was made again, and what led over it is gone."""
    for prefix, via in sorted((before - wanted) | (wanted if anew else wanted - before)):
        with contextlib.suppress(Failure):  # it went with its interface, or never came
            system.run(ifconfig.remove_route(prefix, via))
    for prefix, via in sorted(wanted if anew else wanted - before):
        system.run(ifconfig.add_route(prefix, via))


def sysctls(spec: NetworkSpec) -> dict[str, int]:
    """The stack's own settings. It forwards IPv4 for nat, IPv6 to a gateway it advertises in another's place."""
    forwards6 = any(":" in subnet.gateway for subnet in spec.subnets if subnet.gateway)
    return {
        **pf.GUARDED_SETTINGS,
        "net.inet.ip.forwarding": int(spec.kind == "nat"),
        "net.inet6.ip6.forwarding": int(forwards6),
        "net.inet6.ip6.dad_count": 0,
    }


def routes(spec: NetworkSpec) -> set[tuple[str, str]]:
    """(prefix, via) of the stack."""
    if spec.kind == "nat":
        return {("0.0.0.0/0", host_addresses.nat_link(spec)[0].split("/")[0])}
    return {
        ("::/0" if ":" in subnet.gateway else "0.0.0.0/0", subnet.gateway)
        for subnet in spec.subnets
        if subnet.gateway and subnet.gateway != subnet.own and subnet.own
    }


def jail_of(system: System, record: NetworkRecord, who: str) -> int:
    """The jail of a network; raises Failure when it is not there."""
    standing = system.jail_id(names.network_jail(record.spec.name))
    if not standing or standing != record.jid:
        raise Failure("missing", f"{who}: the jail of network {record.spec.name} is not there: apply the network again")
    return record.jid
