"""What leads out of a network: a nat link, an uplink, a VLAN, a VXLAN, and the host's own address on the network.

flat on a bridge of the administrator's: a link pair, one end in that bridge. flat on another interface: a macvlan in
passthru mode on top of it, which takes every frame and sends with any MAC, so the interface must be free of addresses
and can serve one network. In both cases the uplink itself keeps its settings.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import struct
from collections.abc import Iterator

from ...handlers import Failure
from ...network import host_addresses
from ...policy import Policy
from ...vocabulary import NetworkSpec, Rejected
from . import names, namespaces, nat
from .links import Links
from .netlink import NetlinkError, attribute

IFLA_LINK, IFLA_NET_NS_FD = 5, 28
MACVLAN_MODE, MACVLAN_PASSTHRU = 1, 8
VLAN_ID = 1
VXLAN_ID, VXLAN_LOCAL, VXLAN_LEARNING, VXLAN_PORT, VXLAN_LOCAL6 = 1, 4, 7, 15, 17
VXLAN_UDP_PORT = 4789
ALL_MACS = "00:00:00:00:00:00"


def check(policy: Policy, spec: NetworkSpec) -> None:
    """Whether spec is whole and allowed here; raises Rejected."""
    if spec.kind in ("flat", "vlan"):
        if spec.uplink is None or (spec.kind == "vlan" and spec.vlan is None):
            raise Rejected(f"network {spec.name}: a {spec.kind} network needs an uplink" + _and_a_vlan(spec))
        if spec.uplink not in policy.uplinks:
            allowed = ", ".join(policy.uplinks) or "none"
            raise Rejected(
                f"network {spec.name}: {spec.uplink} is not an uplink that the policy allows ({allowed}): "
                "add it to uplinks in the policy file"
            )
    if spec.kind == "vxlan" and (spec.vni is None or spec.local is None):
        raise Rejected(
            f"network {spec.name}: a vxlan network needs vni and local (this host's address in the underlay)"
        )
    if spec.kind == "nat":
        host_addresses.nat_link(spec)
        nat.check_forwarding(policy, spec.name)
    host_addresses.check(policy, spec, lambda: standing(policy))
    _check_subnets(spec)


def standing(policy: Policy) -> Iterator[tuple[str, str]]:
    """(interface, ADDRESS/LENGTH) of what the host has without us."""
    with Links() as host:
        for name in host.all():
            if not names.is_ours(policy, name):
                for address in host.addresses(name):
                    yield name, address


def _and_a_vlan(spec: NetworkSpec) -> str:
    return " and a vlan" if spec.kind == "vlan" else ""


def _check_subnets(spec: NetworkSpec) -> None:
    for subnet in spec.subnets:
        network = ipaddress.ip_network(subnet.prefix, strict=False)
        for address in (subnet.own, subnet.gateway, subnet.first, subnet.last):
            if address is None:
                continue
            parsed = ipaddress.ip_address(address)
            if parsed not in network and not parsed.is_link_local:
                raise Rejected(f"network {spec.name}: {address} is not in {subnet.prefix}")


def differ(before: NetworkSpec, spec: NetworkSpec) -> bool:
    """Whether the way out must be made anew (peers of a vxlan and addresses are changed in place)."""

    def parts(network: NetworkSpec) -> tuple[object, ...]:
        local = network.local if network.kind == "vxlan" else None
        return (network.kind, network.uplink, network.vlan, network.vni, local, network.host_address is None)

    return parts(before) != parts(spec)


def apply(policy: Policy, spec: NetworkSpec, namespace: int, inside: Links) -> None:
    """Make or change the way out. Raises Failure: unsupported (this kernel lacks it), busy, missing."""
    if spec.kind == "nat":
        nat.apply(policy, spec, namespace, inside)
    elif spec.kind != "isolated":
        if not inside.exists(names.UPLINK):
            with Links() as host:
                _make_uplink(policy, spec, namespace, host)
        inside.change(names.UPLINK, up=True, mtu=spec.mtu, master=names.BRIDGE, link_local=False)
        if spec.kind == "vxlan":
            _set_peers(spec, inside)
    if spec.host_address is not None:
        _link_host(policy, spec, namespace, inside)


def remove(policy: Policy, network: str, inside: Links) -> None:
    """Remove whatever way out a network has, now: the end of its stack would come some time later."""
    with Links() as host:
        for purpose in ("n", "h", "u"):
            host.remove(names.host_link(policy, network, purpose))
    inside.forget()  # the other ends went with them
    if inside.exists(names.UPLINK):
        # Out of the bridge while it is up: a macvlan that is removed as a bridge port leaves its uplink in allmulti.
        inside.change(names.UPLINK, master="")
        inside.remove(names.UPLINK)


def _make_uplink(policy: Policy, spec: NetworkSpec, namespace: int, host: Links) -> None:
    there = attribute(IFLA_NET_NS_FD, namespace)
    try:
        if spec.kind == "vxlan":
            host.add(names.UPLINK, "vxlan", *_vxlan_options(spec), more=there)
            return
        uplink = str(spec.uplink)
        link = host.all().get(uplink)
        if link is None:
            raise Failure("missing", f"network {spec.name}: this host has no interface {uplink}")
        below = attribute(IFLA_LINK, link.index)
        if spec.kind == "vlan":
            host.add(names.UPLINK, "vlan", attribute(VLAN_ID, struct.pack("=H", spec.vlan)), more=below + there)
        elif link.kind == "bridge":
            ours = names.host_link(policy, spec.name, "u")
            host.add_pair(ours, names.UPLINK, namespace)
            host.change(ours, up=True, mtu=spec.mtu, master=uplink, link_local=False)
        else:
            _check_free(spec, host)
            host.add(names.UPLINK, "macvlan", attribute(MACVLAN_MODE, MACVLAN_PASSTHRU), more=below + there)
    except NetlinkError as error:
        raise _failure(spec, error) from None


def _check_free(spec: NetworkSpec, host: Links) -> None:
    standing = host.addresses(str(spec.uplink))
    if standing:
        raise Failure(
            "busy",
            f"network {spec.name}: {spec.uplink} has the host's address {min(standing)}; put the interface into a "
            "bridge that holds the address and name that bridge as the uplink",
        )


def _failure(spec: NetworkSpec, error: NetlinkError) -> Failure:
    if error.errno in (errno.EOPNOTSUPP, errno.ENODEV):
        return Failure("unsupported", f"network {spec.name}: this kernel cannot make a {spec.kind} interface: {error}")
    if error.errno in (errno.EBUSY, errno.EINVAL, errno.EEXIST):
        what = f"vni {spec.vni}" if spec.kind == "vxlan" else f"{spec.uplink}"
        return Failure("busy", f"network {spec.name}: {what} is in use by another network or interface ({error})")
    return Failure("failed", f"network {spec.name}: {error}")


def _vxlan_options(spec: NetworkSpec) -> list[bytes]:
    local = ipaddress.ip_address(str(spec.local))
    return [
        attribute(VXLAN_ID, int(spec.vni or 0)),
        attribute(VXLAN_LOCAL if local.version == 4 else VXLAN_LOCAL6, local.packed),
        # With several peers learning says who has a MAC; what a guest may claim is the guard's business.
        attribute(VXLAN_LEARNING, b"\1"),
        attribute(VXLAN_PORT, struct.pack(">H", VXLAN_UDP_PORT)),
    ]


def _set_peers(spec: NetworkSpec, inside: Links) -> None:
    wanted = {str(ipaddress.ip_address(remote.address)) for remote in spec.remotes}
    standing = {remote for mac, remote in inside.forwarding(names.UPLINK) if mac == ALL_MACS and remote}
    for remote in standing - wanted:
        inside.remove_forwarding(names.UPLINK, ALL_MACS, remote=remote)
    for remote in wanted - standing:
        inside.add_forwarding(names.UPLINK, ALL_MACS, remote=remote)


def _link_host(policy: Policy, spec: NetworkSpec, namespace: int, inside: Links) -> None:
    ours = names.host_link(policy, spec.name, "h")
    with Links() as host:
        host.add_pair(ours, names.HOST_PORT, namespace)
        _ignore_routers(ours)
        # A link-local address would open the host's IPv6 services to a network that was to reach its IPv4 address.
        six = ipaddress.ip_interface(str(spec.host_address)).version == 6
        host.change(ours, up=True, mtu=spec.mtu, link_local=six)
        host.set_addresses(ours, {str(spec.host_address)})
    inside.change(names.HOST_PORT, up=True, mtu=spec.mtu, master=names.BRIDGE, link_local=False)


def _ignore_routers(interface: str) -> None:
    """Let the host's end of a link take no routes and addresses from whoever advertises them on the network."""
    for name in ("accept_ra", "autoconf"):
        with contextlib.suppress(FileNotFoundError):  # a host without IPv6
            namespaces.write_sysctl(f"net/ipv6/conf/{interface}/{name}", "0")
