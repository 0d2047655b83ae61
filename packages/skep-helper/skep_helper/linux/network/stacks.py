"""ApplyNetwork and RemoveNetwork: a network's stack brought to its spec, part by part, each part repeatable."""

from __future__ import annotations

import contextlib
import ipaddress
import os

from ...handlers import Context, Failure
from ...policy import Policy
from ...vocabulary import ApplyNetwork, NetworkSpec, RemoveNetwork
from . import chains, names, namespaces, nat, nft, probes, reading, uplinks
from .filters import Filters
from .links import Links
from .netlink import attribute
from .records import NetworkRecord, Records
from .server import Server

_STP, _SNOOPING, _CALL_IPTABLES, _CALL_IP6TABLES = 5, 23, 36, 37


def apply_network(context: Context, request: ApplyNetwork) -> None:
    """Bring a network to its spec. Nothing is done when its digest stands and no part of it is missing."""
    policy, spec = context.policy, request.network
    uplinks.check(policy, spec)
    records = Records(policy)
    record = records.network(spec.name)
    if record is not None and record.done and record.spec == spec and not reading.missing_of_network(policy, record):
        return
    if record is None and namespaces.inode(names.network_namespace(spec.name)):
        raise Failure("exists", f"network namespace {names.network_namespace(spec.name)} was not made by Skep")
    fresh = record is None
    record = record or NetworkRecord(spec)
    record.spec, record.done = spec, False
    records.save(record)
    namespace = _enter(policy, records, record)
    try:
        _build(policy, record, fresh, namespace)
    finally:
        os.close(namespace)
    record.done, record.built = True, spec
    records.save(record)


def remove_network(context: Context, request: RemoveNetwork) -> None:
    policy, records = context.policy, Records(context.policy)
    record = records.network(request.network)
    if record is None:
        return
    networks_of = {router.spec.name: {leg.network for leg in router.spec.legs} for router in records.routers()}
    users = [port.spec.name for port in records.ports(request.network)]
    users += [f"router {name}" for name, networks in networks_of.items() if request.network in networks]
    if users:
        raise Failure("busy", f"network {request.network} is used by {', '.join(users[:3])}: remove them first")
    Server(policy, request.network, record.inode).remove()
    name = names.network_namespace(request.network)
    if namespaces.inode(name) == record.inode and record.inode:
        namespace = namespaces.open_namespace(name, record.inode)
        try:
            with Links.of(namespace) as links:
                uplinks.remove(policy, request.network, links)
        finally:
            os.close(namespace)
        namespaces.remove(name)
    records.forget("network", request.network)
    if record.spec.kind == "nat":
        nat.load_host_table(policy, _nat_networks(records))


def _enter(policy: Policy, records: Records, record: NetworkRecord) -> int:
    """A descriptor of the network's namespace, made when it is not there."""
    name = names.network_namespace(record.spec.name)
    standing = namespaces.inode(name)
    if standing == 0:
        # A namespace that lost its name lives on while a process is in it, and so would that dnsmasq.
        Server(policy, record.spec.name, record.inode).stop()
        record.inode = namespaces.create(name)
        records.save(record)
    elif record.inode == 0:  # made, but the record of it was not written: a crash between the two
        record.inode = standing
        records.save(record)
    return namespaces.open_namespace(name, record.inode)


def _build(policy: Policy, record: NetworkRecord, fresh: bool, namespace: int) -> None:
    spec, built = record.spec, record.built
    with Links.of(namespace) as links:
        namespaces.inside(namespace, lambda: _set_sysctls(spec))
        _make_bridge(links, spec)
        if not fresh and (built is None or uplinks.differ(built, spec)):
            uplinks.remove(policy, spec.name, links)
        uplinks.apply(policy, spec, namespace, links)
        links.set_routes(_routes(spec))
        if built is not None and built.mtu != spec.mtu:
            _set_mtu_of_ports(Records(policy), links, spec)
    _load_tables(record, namespace)
    if spec.kind == "nat" or not (fresh or (built is not None and built.kind != "nat")):
        others = [other for other in _nat_networks(Records(policy)) if other.name != spec.name]
        nat.load_host_table(policy, others + ([spec] if spec.kind == "nat" else []))
    Server(policy, spec.name, record.inode).apply(spec, namespace)


def _set_mtu_of_ports(records: Records, links: Links, spec: NetworkSpec) -> None:
    standing = links.all()
    for port in records.ports(spec.name):
        if port.interface in standing:
            links.change(port.interface, mtu=spec.mtu)


def _make_bridge(links: Links, spec: NetworkSpec) -> None:
    # Nobody queries, so snooping would only lose groups. By way of br_netfilter frames pass the inet rules.
    through = b"\0" if probes.conntrack_bridge() else b"\1"
    options = [attribute(_STP, 0), attribute(_SNOOPING, b"\0")]
    options += [attribute(kind, through) for kind in (_CALL_IPTABLES, _CALL_IP6TABLES)]
    links.add(names.BRIDGE, "bridge", *options)
    links.add_pair(names.OWN, names.OWN_PORT)
    links.change("lo", up=True)
    links.change(names.BRIDGE, up=True, mtu=spec.mtu, link_local=False)
    links.change(names.OWN_PORT, up=True, mtu=spec.mtu, link_local=False, master=names.BRIDGE)
    links.change(names.OWN, up=True, mtu=spec.mtu)
    links.set_addresses(names.OWN, {
        f"{subnet.own}/{ipaddress.ip_network(subnet.prefix, strict=False).prefixlen}"
        for subnet in spec.subnets if subnet.own
    })  # fmt: skip


def _set_sysctls(spec: NetworkSpec) -> None:
    """The stack's own settings. It forwards IPv4 for nat, IPv6 to a gateway it advertises in another's place."""
    forwards6 = any(_version(subnet.gateway) == 6 for subnet in spec.subnets if subnet.gateway)
    for path, value in (
        ("net/ipv4/ip_forward", "1" if spec.kind == "nat" else "0"),
        ("net/ipv6/conf/all/forwarding", "1" if forwards6 else "0"),
        ("net/ipv6/conf/all/accept_ra", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
    ):
        namespaces.write_sysctl(path, value)
    if probes.conntrack_bridge():
        _leave_to_bridge_family()


def _leave_to_bridge_family() -> None:
    """Where br_netfilter is loaded for somebody else, our frames are not to be tracked a second time by it."""
    for name in ("arptables", "iptables", "ip6tables"):
        with contextlib.suppress(FileNotFoundError):
            namespaces.write_sysctl(f"net/bridge/bridge-nf-call-{name}", "0")


def _version(address: str) -> int:
    return ipaddress.ip_address(address).version


def _routes(spec: NetworkSpec) -> set[tuple[str, str]]:
    if spec.kind == "nat":
        return {("0.0.0.0/0", nat.gateway(spec))}
    return {
        ("::/0" if _version(subnet.gateway) == 6 else "0.0.0.0/0", subnet.gateway)
        for subnet in spec.subnets
        if subnet.gateway and subnet.gateway != subnet.own and subnet.own
    }


def _load_tables(record: NetworkRecord, namespace: int) -> None:
    """Bring the stack's tables to the spec, each only when it does not stand: a table never changes but by its ports,
    and a port more then starts no process here."""
    filters, standing = Filters(probes.conntrack_bridge()), chains.standing(namespace).keys()
    translating = {("ip", names.TABLE, chain) for chain in ("postrouting", "forward")}
    script = "" if filters.wanted_scaffold() <= standing else filters.scaffold(record)
    if record.spec.kind == "nat" and not translating <= standing:
        script += nft.replace_table("ip", names.TABLE, nat.masquerade_body())
    elif record.spec.kind != "nat" and translating & standing:
        script += f"delete table ip {names.TABLE}\n"
    if script:
        nft.load(script, namespace)
    # A flow cut by a change of rules must not be taken up again in its middle, from its other end. (The setting is
    # there once a table has asked for tracking.)
    namespaces.inside(namespace, lambda: namespaces.write_sysctl("net/netfilter/nf_conntrack_tcp_loose", "0"))


def _nat_networks(records: Records) -> list[NetworkSpec]:
    return [record.spec for record in records.networks() if record.spec.kind == "nat"]
