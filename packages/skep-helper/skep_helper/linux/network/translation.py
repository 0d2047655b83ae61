"""Address translation of a router, as nft text. A pure function of its spec.

A packet from inside to an outside address of the router comes back inside (hairpin): it is marked on its way in, and
on its way out it gets an outside address as source too, so that the answer passes the router.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from ...vocabulary import RouterSpec
from ...vocabulary.network import RouterLeg
from . import names

_HAIRPIN = "0x1"


def body(spec: RouterSpec) -> str:
    """The chains of the router's nft table of family ip."""
    lines = ["  chain prerouting { type nat hook prerouting priority dstnat; policy accept;"]
    lines += [f"    {rule}" for rule in _inward(spec)]
    lines += ["  }", "  chain postrouting { type nat hook postrouting priority srcnat; policy accept;"]
    lines += [f"    {rule}" for rule in _outward(spec)]
    return "\n".join(lines) + "\n  }\n"


def outside_addresses(spec: RouterSpec) -> set[str]:
    """The addresses that the router answers for besides those of its legs."""
    found = {floating.outside for floating in spec.floating} | {forward.outside for forward in spec.forwards}
    return found - {address for leg in spec.legs for address in _ipv4(leg)}


def _ipv4(leg: RouterLeg) -> list[str]:
    interfaces = [ipaddress.ip_interface(address) for address in leg.addresses]
    return [str(interface.ip) for interface in interfaces if interface.version == 4]


def _inward(spec: RouterSpec) -> Iterator[str]:
    outside = {f.outside for f in spec.floating} | {f.outside for f in spec.forwards}
    inner = [names.leg(leg.network) for leg in spec.legs if not leg.snat]
    if outside and inner:
        from_inside = _set(f'"{name}"' for name in inner)
        yield f"iifname {from_inside} ip daddr {_set(outside)} meta mark set {_HAIRPIN}"
    for forward in spec.forwards:
        inside = f"{forward.inside}:{forward.inside_port}"
        yield f"ip daddr {forward.outside} {forward.protocol} dport {forward.outside_port} dnat to {inside}"
    if spec.floating:
        yield f"dnat to ip daddr map {_set(f'{f.outside} : {f.inside}' for f in spec.floating)}"


def _outward(spec: RouterSpec) -> Iterator[str]:
    own = _set(f"{f.inside} : {f.outside}" for f in spec.floating)
    legs = [leg for leg in spec.legs if leg.snat and _ipv4(leg)]
    if legs:
        if spec.floating:
            yield f"meta mark {_HAIRPIN} snat to ip saddr map {own}"
        yield f"meta mark {_HAIRPIN} snat to {_ipv4(legs[0])[0]}"
    for leg in legs:
        if spec.floating:
            yield f'oifname "{names.leg(leg.network)}" snat to ip saddr map {own}'
        yield f'oifname "{names.leg(leg.network)}" snat to {_ipv4(leg)[0]}'


def _set(items: Iterable[str]) -> str:
    return "{ " + ", ".join(sorted(items)) + " }"
