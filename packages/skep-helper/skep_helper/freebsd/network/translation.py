"""Address translation of a router, as a pf ruleset. A pure function of its spec.

A packet from inside to an outside address of the router comes back inside (hairpin): it is tagged on its way in, and on
its way out it gets an outside address as source too, so that the answer passes the router. Everything is forwarded;
what guests may exchange is decided on their ports.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from ...vocabulary import RouterSpec
from ...vocabulary.network import RouterLeg

_HAIRPIN = "HAIRPIN"


def text(spec: RouterSpec, interfaces: Mapping[str, str]) -> str:
    """The main ruleset. interfaces: network -> the router's end of its leg there."""
    lines = ["set skip on lo0", "scrub in inet all fragment reassemble"]
    lines += _outward(spec, interfaces)
    lines += _inward(spec, interfaces)
    lines.append("pass all no state")
    return "".join(f"{line}\n" for line in lines)


def outside_addresses(spec: RouterSpec) -> set[str]:
    """The addresses that the router answers for besides those of its legs."""
    found = {floating.outside for floating in spec.floating} | {forward.outside for forward in spec.forwards}
    return found - {address for leg in spec.legs for address in ipv4(leg)}


def ipv4(leg: RouterLeg) -> list[str]:
    interfaces = [ipaddress.ip_interface(address) for address in leg.addresses]
    return [str(interface.ip) for interface in interfaces if interface.version == 4]


def translated(spec: RouterSpec) -> set[tuple[object, ...]]:
    """What is translated, each with the addresses of both ends."""
    return {("floating", f.outside, f.inside) for f in spec.floating} | {
        (f.protocol, f.outside, f.outside_port, f.inside, f.inside_port) for f in spec.forwards
    }


def _outward(spec: RouterSpec, interfaces: Mapping[str, str]) -> Iterator[str]:
    """The first rule that fits decides: a floating address, or that of the leg."""
    legs = [leg for leg in spec.legs if leg.snat and ipv4(leg)]
    for leg in spec.legs:
        if leg.snat or not legs:
            continue
        for floating in spec.floating:
            source = f"from {floating.inside} to any tagged {_HAIRPIN}"
            yield f"nat on {interfaces[leg.network]} inet {source} -> {floating.outside}"
        if spec.floating or spec.forwards:
            yield f"nat on {interfaces[leg.network]} inet from any to any tagged {_HAIRPIN} -> {ipv4(legs[0])[0]}"
    for leg in legs:
        for floating in spec.floating:
            yield f"nat on {interfaces[leg.network]} inet from {floating.inside} to any -> {floating.outside}"
        yield f"nat on {interfaces[leg.network]} inet from any to any -> {ipv4(leg)[0]}"


def _inward(spec: RouterSpec, interfaces: Mapping[str, str]) -> Iterator[str]:
    for leg in spec.legs:
        tag = "" if leg.snat else f" tag {_HAIRPIN}"
        for forward in spec.forwards:
            yield (
                f"rdr on {interfaces[leg.network]} inet proto {forward.protocol} from any to {forward.outside} "
                f"port {forward.outside_port}{tag} -> {forward.inside} port {forward.inside_port}"
            )
        for floating in spec.floating:
            yield f"rdr on {interfaces[leg.network]} inet from any to {floating.outside}{tag} -> {floating.inside}"
