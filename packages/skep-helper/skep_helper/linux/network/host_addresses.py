"""Addresses that the host's own stack gets: on networks that ask for one, and at its ends of nat links.

Each makes a route. Whoever may choose them freely takes the host's own traffic to whatever he likes, so they lie
where the policy says and nowhere near what the host has already.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator

from ...policy import Policy
from ...vocabulary import NetworkSpec, Rejected
from . import namespaces, nat
from .links import Links

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def check(policy: Policy, spec: NetworkSpec) -> None:
    """Raises Rejected for a prefix outside the policy's host_prefixes, or one that meets an address of the host.

    A flat or VLAN network is on an uplink that the policy names, whose other addresses the host may well have.
    """
    for prefix in _wanted(spec):
        if not any(_within(prefix, ipaddress.ip_network(allowed, strict=False)) for allowed in policy.host_prefixes):
            allowed = ", ".join(policy.host_prefixes) or "none"
            raise Rejected(
                f"network {spec.name}: the policy allows the host no address in {prefix} (host_prefixes: {allowed}): "
                "choose another one, or add it there"
            )
        for interface, other in () if spec.kind in ("flat", "vlan") else _standing(policy):
            if prefix.version == other.version and prefix.overlaps(other):
                raise Rejected(f"network {spec.name}: {prefix} overlaps {other} of the host's {interface}")


def _wanted(spec: NetworkSpec) -> Iterator[Network]:
    if spec.host_address is not None:
        yield ipaddress.ip_interface(spec.host_address).network
    if spec.kind == "nat":
        yield ipaddress.ip_interface(nat.link_addresses(spec)[0]).network


def _within(prefix: Network, allowed: Network) -> bool:
    return prefix.version == allowed.version and prefix.subnet_of(allowed)  # type: ignore[arg-type]


def _standing(policy: Policy) -> Iterator[tuple[str, Network]]:
    """(interface, prefix) of what the host has without us."""
    with Links() as host:
        for name in host.all():
            if not name.startswith(policy.interface_prefix[:4]):
                for address in host.addresses(name):
                    yield name, ipaddress.ip_interface(address).network


def ignore_routers(interface: str) -> None:
    """Let the host's end of a link take no routes and addresses from whoever advertises them on the network."""
    for name in ("accept_ra", "autoconf"):
        with contextlib.suppress(FileNotFoundError):  # a host without IPv6
            namespaces.write_sysctl(f"net/ipv6/conf/{interface}/{name}", "0")
