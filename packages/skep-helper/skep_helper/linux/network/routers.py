"""ApplyRouter and RemoveRouter: a stack with a leg in each network, changed in place."""

from __future__ import annotations

import ipaddress
import os
import socket

from ...handlers import Context, Failure
from ...policy import Policy
from ...vocabulary import ApplyRouter, Rejected, RemoveRouter, RouterSpec
from ...vocabulary.network import RouterLeg
from . import names, namespaces, nft, reading, translation
from .conntrack import Conntrack
from .links import Links, mac_bytes
from .records import NetworkRecord, Records, RouterRecord


def apply_router(context: Context, request: ApplyRouter) -> None:
    """Bring a router to its spec. Raises Rejected, Failure: missing (a network), exists (a foreign namespace)."""
    policy, spec = context.policy, request.router
    records = Records(policy)
    networks = _check(records, spec)
    record = records.router(spec.name)
    if record is not None and record.done and record.spec == spec and not reading.missing_of_router(record):
        return
    name = names.router_namespace(spec.name)
    if record is None and namespaces.inode(name):
        raise Failure("exists", f"network namespace {name} was not made by Skep: remove or rename it")
    before = record.spec if record is not None else None
    record = record or RouterRecord(spec)
    record.spec, record.done = spec, False
    records.save(record)
    if namespaces.inode(name) == 0:
        record.inode = namespaces.create(name)
    record.inode = record.inode or namespaces.inode(name)
    records.save(record)
    namespace = namespaces.open_namespace(name, record.inode)
    try:
        _build(policy, spec, networks, namespace)
        if before is not None:
            _end_old_flows(before, spec, namespace)
        _announce(spec, namespace)
    finally:
        os.close(namespace)
    record.done = True
    records.save(record)


def remove_router(context: Context, request: RemoveRouter) -> None:
    """Remove a router; its legs end with its stack. Repeatable."""
    records = Records(context.policy)
    record = records.router(request.router)
    if record is None:
        return
    name = names.router_namespace(request.router)
    if namespaces.inode(name) == record.inode:
        namespace = namespaces.open_namespace(name, record.inode)
        try:
            with Links.of(namespace) as links:
                for leg in record.spec.legs:
                    links.remove(names.leg(leg.network))  # now, not when the kernel gets to tidy the stack up
        finally:
            os.close(namespace)
        namespaces.remove(name)
    records.forget("router", request.router)


def _check(records: Records, spec: RouterSpec) -> dict[str, NetworkRecord]:
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


def _build(policy: Policy, spec: RouterSpec, networks: dict[str, NetworkRecord], namespace: int) -> None:
    namespaces.inside(namespace, _set_sysctls)
    with Links.of(namespace) as inside:
        wanted = {names.leg(leg.network) for leg in spec.legs}
        for name in inside.all():
            if name.startswith("leg-") and name not in wanted:
                inside.remove(name)
        inside.change("lo", up=True)
        # The translation stands before the legs do: nothing leaves with an inner address.
        nft.load(nft.replace_table("ip", names.TABLE, translation.body(spec)), namespace)
        extra = {f"{address}/32" for address in translation.outside_addresses(spec)}
        for leg in spec.legs:
            _set_leg(policy, spec, leg, networks[leg.network], namespace, inside, extra if leg.snat else set())
        inside.set_routes({(route.prefix, route.via) for route in spec.routes})


def _set_leg(
    policy: Policy, spec: RouterSpec, leg: RouterLeg, network: NetworkRecord, namespace: int, inside: Links,
    extra: set[str],
) -> None:  # fmt: skip
    name, port = names.leg(leg.network), names.leg_port(policy, spec.name, leg.network)
    there = namespaces.open_namespace(names.network_namespace(leg.network), network.inode)
    try:
        with Links.of(there) as outside:
            if not inside.exists(name):
                outside.remove(port)  # the half of a pair whose other half went
                outside.add_pair(port, name, namespace)
            mtu = network.spec.mtu
            outside.change(port, mtu=mtu, master=names.BRIDGE, link_local=False, up=True)
        inside.change(name, mtu=mtu, mac=leg.mac)
        inside.change(name, up=True)
        inside.set_addresses(name, set(leg.addresses) | extra)
    finally:
        os.close(there)


def _set_sysctls() -> None:
    for path, value in (
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv6/conf/default/forwarding", "1"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
    ):
        namespaces.write_sysctl(path, value)


def _translated(spec: RouterSpec) -> set[tuple[object, ...]]:
    return {("floating", f.outside, f.inside) for f in spec.floating} | {
        (f.protocol, f.outside, f.outside_port, f.inside, f.inside_port) for f in spec.forwards
    }


def _end_old_flows(before: RouterSpec, spec: RouterSpec, namespace: int) -> None:
    """Flows keep the translation they began with: end those whose translation is gone."""
    gone = _translated(before) - _translated(spec)
    if not gone:
        return
    ends = {end for translation_ in gone for end in translation_[1:]}
    with Conntrack(namespace) as conntrack:
        for flow in conntrack.all_flows():
            if flow.source in ends or flow.destination in ends:
                conntrack.end(flow)


def _announce(spec: RouterSpec, namespace: int) -> None:
    """Tell the neighbours who has the outside addresses now (gratuitous ARP): another router may have had them."""
    addresses = translation.outside_addresses(spec)
    legs = [leg for leg in spec.legs if leg.snat]
    if not addresses or not legs:
        return

    def send() -> None:
        for leg in legs:
            own = mac_bytes(leg.mac)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind((names.leg(leg.network), 0))
                for address in sorted(addresses):
                    ip = ipaddress.ip_address(address).packed
                    start = b"\xff" * 6 + own + bytes.fromhex("08060001080006040001")
                    raw.send(start + own + ip + b"\xff" * 6 + ip)

    namespaces.inside(namespace, send)
