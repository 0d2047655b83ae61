"""Addresses that the host's own stack gets: on networks that ask for one, and at its ends of nat links.

Each makes a route. Whoever may choose them freely takes the host's own traffic to whatever he likes, so they lie
where the policy says and nowhere near what the host has already.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator

from ..policy import Policy
from ..vocabulary import NetworkSpec, Rejected

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Standing = Callable[[], Iterable[tuple[str, str]]]
"""Gives (interface, ADDRESS/LENGTH) of what the host has without Skep; asked only when it matters."""


def check(policy: Policy, spec: NetworkSpec, standing: Standing) -> None:
    """Raises Rejected for a prefix outside the policy's host_prefixes, or one that meets an address of the host.

    A flat or VLAN network is on an uplink that the policy names, whose other addresses the host may well have.
    """
    wanted = list(_wanted(spec))
    for prefix in wanted:
        if not any(_within(prefix, ipaddress.ip_network(allowed, strict=False)) for allowed in policy.host_prefixes):
            allowed = ", ".join(policy.host_prefixes) or "none"
            raise Rejected(
                f"network {spec.name}: the policy allows the host no address in {prefix} (host_prefixes: {allowed}): "
                "choose another one, or add it there"
            )
    if not wanted or spec.kind in ("flat", "vlan"):
        return
    for interface, address in standing():
        other = ipaddress.ip_interface(address).network
        for prefix in wanted:
            if prefix.version == other.version and prefix.overlaps(other):
                raise Rejected(f"network {spec.name}: {prefix} overlaps {other} of the host's {interface}")


def nat_link(spec: NetworkSpec) -> tuple[str, str]:
    """(host's end, network's end) of the link of a nat network, as ADDRESS/LENGTH. Raises Rejected."""
    prefix = ipaddress.ip_network(spec.nat_prefix or "0.0.0.0/0", strict=False)
    if prefix.version != 4 or not 24 <= prefix.prefixlen <= 30:
        raise Rejected(f"network {spec.name}: a nat network needs a nat_prefix, an IPv4 prefix of /24 to /30")
    return f"{prefix[1]}/{prefix.prefixlen}", f"{prefix[2]}/{prefix.prefixlen}"


def _wanted(spec: NetworkSpec) -> Iterator[Network]:
    if spec.host_address is not None:
        yield ipaddress.ip_interface(spec.host_address).network
    if spec.kind == "nat":
        yield ipaddress.ip_interface(nat_link(spec)[0]).network


def _within(prefix: Network, allowed: Network) -> bool:
    return prefix.version == allowed.version and prefix.subnet_of(allowed)  # type: ignore[arg-type]
