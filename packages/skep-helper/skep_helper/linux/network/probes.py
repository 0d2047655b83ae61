"""What this kernel can do for networks, found by trying it in a stack that is made for it and gone after it."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from functools import cache

from ...handlers import Failure
from ...policy import Policy
from ...run import installed, run
from ...vocabulary import Feature
from . import namespaces, nft
from .links import Links
from .netlink import attribute

_CONNTRACK_BRIDGE = (
    "table bridge t { chain c { type filter hook forward priority 0; ct state established accept; }; }\n"
)
_NAT = 'table ip t { chain c { type nat hook postrouting priority srcnat; oifname "x" masquerade; }; }\n'
_GUARD = (
    'table netdev t { chain c { type filter hook ingress device "v0" priority -500; '
    "icmpv6 type nd-router-advert exthdr frag exists drop; }; }\n"
)


def probe(policy: Policy) -> tuple[Feature, ...]:
    """The features of the network part. Tried once in the life of the process (some ms)."""
    features = all_features()
    refused = not policy.forwarding and namespaces.read_sysctl("net/ipv4/ip_forward") != "1"
    if refused:
        reason = "the host does not forward IPv4: set forwarding = true in the policy, or net.ipv4.ip_forward=1"
        features = tuple(
            Feature(name="nat", works=False, reason=reason) if feature.name == "nat" and feature.works else feature
            for feature in features
        )
    return features


@cache
def conntrack_bridge() -> bool:
    """Whether nft's bridge family tracks connections (nf_conntrack_bridge, which no kernel loads by itself)."""
    with contextlib.suppress(Failure):
        run(["modprobe", "-q", "nf_conntrack_bridge"])
    return _attempt("conntrack-bridge", lambda links: nft.load(_CONNTRACK_BRIDGE), "").works


@cache
def all_features() -> tuple[Feature, ...]:
    """What the kernel can do, whatever the policy says."""
    return (
        _attempt("vlan", _vlan, "needs the kernel module 8021q"),
        _attempt("vxlan", _vxlan, "needs the kernel module vxlan"),
        _attempt("flat", _macvlan, "needs the kernel module macvlan, or a bridge as the uplink"),
        _attempt("bridge-vlan-filtering", _vlan_filtering, "needs a kernel with CONFIG_BRIDGE_VLAN_FILTERING"),
        Feature(
            name="conntrack-bridge",
            works=conntrack_bridge(),
            reason="" if conntrack_bridge() else "needs the kernel module nf_conntrack_bridge; br_netfilter is used",
        ),
        _attempt("rules", _rules, "needs the kernel module nf_conntrack_bridge or br_netfilter"),
        _attempt("nat", lambda links: nft.load(_NAT), "needs nf_tables with nat"),
        _dnsmasq(),
        _attempt("guard", _guard, "needs nf_tables with the netdev family"),
    )


def _dnsmasq() -> Feature:
    reason = "" if installed("dnsmasq") else "dnsmasq is not installed (apt install dnsmasq-base)"
    return Feature(name="dnsmasq", works=not reason, reason=reason)


def _attempt(name: str, work: Callable[[Links], None], remedy: str) -> Feature:
    def body() -> None:
        namespaces.unshare()
        with Links() as links:
            work(links)

    try:
        namespaces.in_thread(body)
    except (OSError, Failure) as error:
        return Feature(name=name, works=False, reason=f"{remedy} (tried: {error})"[:256])
    return Feature(name=name, works=True)


def _rules(links: Links) -> None:
    """Stateful rules need one of two ways; br_netfilter shows itself by its settings in every stack."""
    if not conntrack_bridge():
        namespaces.write_sysctl("net/bridge/bridge-nf-call-iptables", "1")


def _vlan(links: Links) -> None:
    links.add_pair("v0", "v1")
    links.add("v2", "vlan", attribute(1, struct.pack("=H", 5)), more=attribute(5, links.index("v0")))


def _vxlan(links: Links) -> None:
    links.add("v0", "vxlan", attribute(1, 5), attribute(15, struct.pack(">H", 4789)))


def _macvlan(links: Links) -> None:
    links.add_pair("v0", "v1")
    links.add("v2", "macvlan", attribute(1, 8), more=attribute(5, links.index("v0")))


def _vlan_filtering(links: Links) -> None:
    links.add("v0", "bridge", attribute(7, b"\1"))


def _guard(links: Links) -> None:
    links.add_pair("v0", "v1")
    nft.load(_GUARD)
