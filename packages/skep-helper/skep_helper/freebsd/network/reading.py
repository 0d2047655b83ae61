"""ReadNetworks: what stands, compared with what was applied.

For each stack one fork of the helper enters its jail and asks there by ioctl and by a netgraph socket; no tool is
started, whatever the number of networks and ports. What cannot be seen so: a change by hand within an anchor or a
guard's program. A pf that somebody switched off is switched on again at once, because an open filter cannot wait for a
plan, and its network is told as incomplete.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...handlers import Context, Failure
from ...policy import Policy
from ...vocabulary import NetworkReading, ReadNetworks
from ...vocabulary.network import GroupReading, PortReading, StackReading
from . import guard, names, neighbours, netgraph, pf, server
from .records import NetworkRecord, PortRecord, Records, RouterRecord, locked
from .responder import Responder
from .server import Server
from .system import RUNNING, UP, System


@dataclass(frozen=True)
class Stack:
    """What a jail's stack holds. filtered, open: interfaces with an anchor of rules, and with one that passes all.
    rules: how many the main ruleset has, -1 where that cannot be seen."""

    flags: dict[str, int] = field(default_factory=dict)
    members: list[str] = field(default_factory=list)
    filtered: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    nodes: dict[str, tuple[str, int]] = field(default_factory=dict)
    rules: int = -1
    pf_was_off: bool = False
    serves: bool = False
    answers: bool = False

    def up(self, name: str) -> bool:
        return bool(self.flags.get(name, 0) & UP)


@dataclass(frozen=True)
class HostSide:
    """flags: of the host's interfaces. members: of the bridges that networks joined, by bridge."""

    flags: dict[str, int] = field(default_factory=dict)
    members: dict[str, list[str]] = field(default_factory=dict)


def read_networks(context: Context, request: ReadNetworks) -> NetworkReading:
    with locked(context.policy, "ReadNetworks"):
        return read(System(), context.policy)


def read(system: System, policy: Policy) -> NetworkReading:
    records = Records(policy)
    networks = records.networks()
    host = ask_host(system, networks)
    stacks = {record.spec.name: read_stack(system, policy, record) for record in networks}
    return NetworkReading(
        networks=tuple(
            _stack(network.spec.name, network.spec.digest, network.done, missing(network, stack, host))
            for network, stack in zip(networks, stacks.values(), strict=True)
        ),
        ports=tuple(_port(port, stacks.get(port.spec.network), host.flags) for port in records.ports()),
        routers=tuple(
            _stack(record.spec.name, record.spec.digest, record.done, missing_of_router(system, policy, record))
            for record in records.routers()
        ),
        groups=tuple(
            GroupReading(network=network.spec.name, group=group, addresses=tuple(addresses))
            for network in networks
            for group, addresses in sorted(network.groups.items())
        ),
    )


def read_stack(system: System, policy: Policy, record: NetworkRecord) -> Stack | None:
    """None when its jail is not there."""
    if not record.jid or system.jail_id(names.network_jail(record.spec.name)) != record.jid:
        return None
    try:
        return from_json(system.enter(record.jid, lambda: ask(system, policy, record.spec.name)))
    except (OSError, Failure):
        return None  # it went in the meantime, or what is in it is beyond reading: either way it is to be built


def ask(system: System, policy: Policy | None = None, network: str = "") -> dict[str, Any]:
    """In the jail: what it holds, as JSON. network: whose processes are looked for."""
    flags = system.interfaces()
    return {
        "flags": flags,
        "members": system.members(names.BRIDGE) if names.BRIDGE in flags else [],
        "pf_was_off": system.start_pf(),
        "rules": system.main_rules(),
        "filtered": system.anchors("sg"),
        "open": system.anchors("open"),
        "nodes": system.nodes(),
        "serves": policy is not None and Server(policy, network).running(),
        "answers": policy is not None and Responder(policy, network).running(),
    }


def from_json(answer: dict[str, Any]) -> Stack:
    nodes = {name: (str(kind), int(hooks)) for name, (kind, hooks) in answer.pop("nodes").items()}
    return Stack(nodes=nodes, **answer)


def ask_host(system: System, records: list[NetworkRecord]) -> HostSide:
    flags = system.interfaces()
    bridges = {bridge for record in records for bridge in record.joined.values()}
    return HostSide(flags, {bridge: system.members(bridge) for bridge in sorted(bridges & flags.keys())})


def missing(record: NetworkRecord, stack: Stack | None, host: HostSide) -> str:
    """The parts of a network that are not there, in words; "" when all are."""
    if stack is None:
        return "jail"
    members = [names.OWN_PORT, *record.members]
    parts = [name for name in (names.BRIDGE, names.OWN, *members, *record.inside) if not stack.up(name)]
    parts += [f"{name} in {names.BRIDGE}" for name in members if stack.up(name) and name not in stack.members]
    down = [name for name in record.outside if not host.flags.get(name, 0) & UP]
    parts += [f"{name} of the host" for name in down]
    joined = ((name, bridge) for name, bridge in record.joined.items() if name not in down and bridge not in down)
    parts += [f"{name} in {bridge}" for name, bridge in joined if name not in host.members.get(bridge, [])]
    if stack.pf_was_off:
        parts.append("pf (was off)")
    elif not {names.OWN, *members} <= set(stack.open) or 0 <= stack.rules < pf.MAIN_RULES:
        parts.append("pf rules")
    if server.wanted(record.spec) and not stack.serves:
        parts.append("dnsmasq")
    if neighbours.table(record.spec) and not stack.answers:
        parts.append("answers for neighbours")
    return _words(parts)


def missing_of_router(system: System, policy: Policy, record: RouterRecord) -> str:
    """The parts of a router that are not there, in words; "" when all are."""
    if not record.jid or system.jail_id(names.router_jail(record.spec.name)) != record.jid:
        return "jail"
    stack = from_json(system.enter(record.jid, lambda: ask(system)))
    parts = [
        f"leg in {leg.network}"
        for leg in record.spec.legs
        if not stack.up(names.leg(policy, record.spec.name, leg.network)[1])
    ]
    return _words([*parts, *(["pf (was off)"] if stack.pf_was_off else [])])


def _words(parts: list[str]) -> str:
    return ", ".join(parts)[:256]


def _stack(name: str, digest: str, done: bool, missing: str) -> StackReading:
    return StackReading(name=name, digest=digest if done and not missing else "", missing=missing)


def _port(port: PortRecord, stack: Stack | None, host: dict[str, int]) -> PortReading:
    # The end of a guest's jail brings the tap that was lent to it back to the host.
    lent = bool(port.lent) and port.interface not in host
    whole = port.done and stack is not None and (lent or stands(port, stack))
    return PortReading(
        name=port.spec.name,
        network=port.spec.network,
        digest=port.spec.digest if whole else "",
        interface=port.interface,
        up=stack is not None and stack.up(port.interface),
    )


def stands(port: PortRecord, stack: Stack) -> bool:
    """Whether a port's tap is in the bridge with its rules and its guard. (It is down while no guest has it open.)"""
    interface = port.interface
    nodes = {name: node for name, node in netgraph.nodes_of(interface).items() if stack.nodes.get(name) == node}
    count = 3 if guard.wanted(port.spec) else 0
    return interface in stack.members and interface in stack.filtered and len(nodes) == count


def is_open(flags: int) -> bool:
    """Whether a process has a tap open."""
    return bool(flags & RUNNING)
