"""Link prefixes of nat networks: one /30 each from 100.64.0.0/10, outside every prefix that guests use.

The place comes from the network's name, so that it is the same in every plan; two names that fall on one place are
told apart in the order of the names. Adding a network can thus, rarely, move the link of another: it is applied
again, its guests notice a pause of milliseconds.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable

from skepd.model.objects import Network

_RANGE = ipaddress.IPv4Network("100.64.0.0/10")
_PLACES = 1 << (30 - _RANGE.prefixlen)


def nat_prefixes(networks: Iterable[Network]) -> dict[str, str]:
    """NAME -> prefix for every network of kind nat."""
    used: list[ipaddress.IPv4Network] = []
    names: list[str] = []
    for network in networks:
        used += _inside(network)
        if network.kind == "nat":
            names.append(network.name)
    taken: set[int] = set()
    found: dict[str, str] = {}
    for name in sorted(names):
        place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % _PLACES
        while place in taken or any(_prefix(place).overlaps(other) for other in used):
            place = (place + 1) % _PLACES
        taken.add(place)
        found[name] = str(_prefix(place))
    return found


def _prefix(place: int) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network((int(_RANGE.network_address) + 4 * place, 30))


def _inside(network: Network) -> list[ipaddress.IPv4Network]:
    found = []
    for subnet in network.subnets:
        if ":" in subnet.prefix:
            continue
        prefix = ipaddress.IPv4Network(subnet.prefix, strict=False)
        # A prefix that covers the whole range leaves no place at all; it cannot be a guest network in earnest.
        if prefix.overlaps(_RANGE) and prefix.prefixlen > _RANGE.prefixlen:
            found.append(prefix)
    return found
