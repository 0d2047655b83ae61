"""ReadNetworks: what stands, compared with what was applied. No process is started, whatever the number of ports."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ...handlers import Context, Failure
from ...policy import Policy
from ...vocabulary import NetworkReading, ReadNetworks
from ...vocabulary.network import GroupReading, PortReading, StackReading
from . import chains, names, namespaces, probes
from .filters import Filters
from .links import Link, Links
from .records import NetworkRecord, PortRecord, Records, RouterRecord
from .server import Server

Chains = dict[tuple[str, str, str], int]


@dataclass(frozen=True)
class Stack:
    """What a namespace holds: its interfaces by name, its nft chains as (family, table, chain)."""

    links: dict[str, Link]
    chains: Chains

    def up(self, name: str) -> bool:
        return name in self.links and self.links[name].up


def read_networks(context: Context, request: ReadNetworks) -> NetworkReading:
    policy, records = context.policy, Records(context.policy)
    networks = records.networks()
    host = chains.standing()
    stacks = {record.spec.name: _read(names.network_namespace(record.spec.name), record.inode) for record in networks}
    return NetworkReading(
        networks=tuple(
            _stack(network.spec.name, network.spec.digest, network.done, _missing(policy, network, stack, host))
            for network, stack in zip(networks, stacks.values(), strict=True)
        ),
        ports=tuple(_port(port, stacks.get(port.spec.network)) for port in records.ports()),
        routers=tuple(
            _stack(record.spec.name, record.spec.digest, record.done, missing_of_router(record))
            for record in records.routers()
        ),
        groups=tuple(
            GroupReading(network=network.spec.name, group=group, addresses=tuple(addresses))
            for network in networks
            for group, addresses in sorted(network.groups.items())
        ),
    )


def missing_of_network(policy: Policy, record: NetworkRecord) -> str:
    """The parts of a network that are not there, in words; "" when all are."""
    host = chains.standing()
    return _missing(policy, record, _read(names.network_namespace(record.spec.name), record.inode), host)


def missing_of_router(record: RouterRecord) -> str:
    """The parts of a router that are not there, in words; "" when all are."""
    stack = _read(names.router_namespace(record.spec.name), record.inode)
    if stack is None:
        return "namespace"
    missing = [f"leg in {leg.network}" for leg in record.spec.legs if not stack.up(names.leg(leg.network))]
    if any(leg.snat for leg in record.spec.legs) and ("ip", names.TABLE, "postrouting") not in stack.chains:
        missing.append("nft table")
    return _words(missing)


def _read(namespace: str, inode: int) -> Stack | None:
    try:
        descriptor = namespaces.open_namespace(namespace, inode)
    except Failure:
        return None
    try:
        return read_stack(descriptor)
    finally:
        os.close(descriptor)


def _words(missing: list[str]) -> str:
    return ", ".join(missing)[:256]


def _stack(name: str, digest: str, done: bool, missing: str) -> StackReading:
    return StackReading(name=name, digest=digest if done and not missing else "", missing=missing)


def _missing(policy: Policy, record: NetworkRecord, stack: Stack | None, host: Chains) -> str:
    if stack is None:
        return "namespace"
    missing = []
    wanted = [names.BRIDGE, names.OWN, names.OWN_PORT]
    tables = Filters(probes.conntrack_bridge()).wanted_scaffold()
    if record.spec.kind == "nat":
        wanted.append(names.WAY_OUT)
        tables |= {("ip", names.TABLE, "postrouting")}
        if ("inet", names.TABLE, "postrouting") not in host:
            missing.append("nft table of the host")
    elif record.spec.kind != "isolated":
        wanted.append(names.UPLINK)
    if record.spec.host_address is not None:
        wanted.append(names.HOST_PORT)
    missing += [name for name in wanted if not stack.up(name)]
    if not tables <= stack.chains.keys():
        missing.append("nft table")
    needs_server = any(subnet.own for subnet in record.spec.subnets)
    if needs_server and not Server(policy, record.spec.name, record.inode).running():
        missing.append("dnsmasq")
    return _words(missing)


def _port(port: PortRecord, stack: Stack | None) -> PortReading:
    return PortReading(
        name=port.spec.name,
        network=port.spec.network,
        digest=port.spec.digest if port.done and stack is not None and stands(port, stack) else "",
        interface=port.interface,
        up=stack is not None and stack.up(port.interface),
    )


def stands(port: PortRecord, stack: Stack) -> bool:
    """Whether a port's tap is up in the bridge and its chains are there as they were loaded."""
    bridge = stack.links.get(names.BRIDGE)
    filters = Filters(probes.conntrack_bridge())
    return (
        bridge is not None
        and stack.up(port.interface)
        and stack.links[port.interface].master == bridge.index
        and len(port.uses) == len(filters.wanted_chains(port))
        and filters.uses(port, stack.chains) == port.uses
    )


def read_stack(descriptor: int) -> Stack:
    """What the namespace of this descriptor holds."""
    with Links.of(descriptor) as links:
        return Stack(links.all(), chains.standing(descriptor))
