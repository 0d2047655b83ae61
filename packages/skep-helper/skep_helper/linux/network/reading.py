"""ReadNetworks: what stands, compared with what was applied. No process is started, whatever the number of ports."""

from __future__ import annotations

import os

from ...handlers import Context, Failure
from ...policy import Policy
from ...vocabulary import NetworkReading, ReadNetworks
from ...vocabulary.network import GroupReading, PortReading, StackReading
from . import names, namespaces
from .links import Link, Links
from .records import NetworkRecord, PortRecord, Records, RouterRecord
from .server import Server


def read_networks(context: Context, request: ReadNetworks) -> NetworkReading:
    policy, records = context.policy, Records(context.policy)
    ports: dict[str, list[PortRecord]] = {}
    for port in records.ports():
        ports.setdefault(port.spec.network, []).append(port)
    networks, port_readings = [], []
    for network in records.networks():
        standing = _links(names.network_namespace(network.spec.name), network.inode)
        missing = _missing(policy, network, standing)
        digest = network.spec.digest if network.done and not missing else ""
        networks.append(StackReading(name=network.spec.name, digest=digest, missing=missing))
        port_readings += [_port(port, standing) for port in ports.get(network.spec.name, [])]
    return NetworkReading(
        networks=tuple(networks),
        ports=tuple(port_readings),
        routers=tuple(_router(router) for router in records.routers()),
        groups=tuple(
            GroupReading(network=network.spec.name, group=group, addresses=tuple(addresses))
            for network in records.networks()
            for group, addresses in network.groups.items()
        ),
    )


def missing_of_network(policy: Policy, record: NetworkRecord) -> str:
    """The parts of a network that are not there, in words; "" when all are."""
    return _missing(policy, record, _links(names.network_namespace(record.spec.name), record.inode))


def _links(namespace: str, inode: int) -> dict[str, Link] | None:
    try:
        descriptor = namespaces.open_namespace(namespace, inode)
    except Failure:
        return None
    try:
        with Links.of(descriptor) as links:
            return links.all()
    finally:
        os.close(descriptor)


def _missing(policy: Policy, record: NetworkRecord, standing: dict[str, Link] | None) -> str:
    if standing is None:
        return "namespace"
    wanted = [names.BRIDGE, names.OWN, names.OWN_PORT]
    if record.spec.kind == "nat":
        wanted.append(names.WAY_OUT)
    elif record.spec.kind != "isolated":
        wanted.append(names.UPLINK)
    if record.spec.host_address is not None:
        wanted.append(names.HOST_PORT)
    missing = [name for name in wanted if name not in standing or not standing[name].up]
    needs_server = any(subnet.own for subnet in record.spec.subnets)
    if needs_server and not Server(policy, record.spec.name, record.inode).running():
        missing.append("dnsmasq")
    return ", ".join(missing)


def _port(port: PortRecord, standing: dict[str, Link] | None) -> PortReading:
    link = (standing or {}).get(port.interface)
    whole = port.done and link is not None and bool(standing) and link.master == (standing or {})[names.BRIDGE].index
    return PortReading(
        name=port.spec.name,
        network=port.spec.network,
        digest=port.spec.digest if whole else "",
        interface=port.interface,
        up=link is not None and link.up,
    )


def _router(router: RouterRecord) -> StackReading:
    standing = _links(names.router_namespace(router.spec.name), router.inode)
    missing = "namespace" if standing is None else ""
    return StackReading(
        name=router.spec.name, digest=router.spec.digest if router.done and not missing else "", missing=missing
    )
