"""Checks of routers: legs, routes, floating addresses and port forwards."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from .addresses import address, network
from .desired import Desired
from .errors import nearest
from .faults import Faults, fault
from .names import Kind
from .network_checks import in_range, is_host_address
from .objects import Leg, Network, Router
from .port_checks import own_addresses


def check_routers(desired: Desired) -> Faults:
    """All routers of a host."""
    taken = dict(own_addresses(desired))
    for port in desired.ports.values():
        for text in port.addresses:
            taken.setdefault((port.network, text), f"port {port.name}")
    for router in desired.routers.values():
        yield from _legs(router, desired)
        yield from _leg_addresses(router, desired, taken)
        yield from _overlaps(router)
        yield from _routes(router)
        yield from _floating(router, desired)
        yield from _forwards(router, desired)


def _interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    return ipaddress.ip_interface(text)


def _legs(router: Router, desired: Desired) -> Faults:
    if not router.legs:
        hint = f"write [[router.{router.name}.leg]] with network and addresses"
        yield fault(Kind.ROUTER, router.name, (), "a router needs a leg", hint)
    names = [leg.network for leg in router.legs]
    for number, leg in enumerate(router.legs):
        path = ("leg", number, "network")
        if leg.network not in desired.networks:
            hint = nearest(leg.network, desired.networks, "network")
            yield fault(Kind.ROUTER, router.name, path, f'there is no network "{leg.network}"', hint)
        elif leg.network in names[:number]:
            problem = f"two legs are in the network {leg.network}"
            yield fault(Kind.ROUTER, router.name, path, problem, "give one leg all its addresses there")
        if not leg.addresses:
            problem = f"the leg in {leg.network} has no address"
            yield fault(Kind.ROUTER, router.name, ("leg", number), problem, 'write e.g. addresses = "10.78.0.1/24"')


def _leg_addresses(router: Router, desired: Desired, taken: dict[tuple[str, str], str]) -> Faults:
    for number, leg in enumerate(router.legs):
        for position, text in enumerate(leg.addresses):
            path = ("leg", number, "addresses", position)
            alone = str(_interface(text).ip)
            mine = f"router {router.name}, leg {number}"
            holder = taken.setdefault((leg.network, alone), mine)
            if holder != mine:
                problem = f"{alone} is the address of {holder} already"
                yield fault(Kind.ROUTER, router.name, path, problem, "write an address that is free")
            elif leg.network in desired.networks:
                yield from _leg_in_subnet(router, desired.networks[leg.network], path, alone)


def _leg_in_subnet(router: Router, value: Network, path: tuple[str | int, ...], text: str) -> Faults:
    if not value.subnets:
        return
    subnet = next((subnet for subnet in value.subnets if is_host_address(text, subnet.prefix)), None)
    if subnet is None or in_range(text, subnet):
        prefixes = ", ".join(subnet.prefix for subnet in value.subnets)
        problem = f"{text} is no static host's address in the network {value.name}"
        hint = f"write an address of {prefixes}, outside the range of dynamic ones"
        yield fault(Kind.ROUTER, router.name, path, problem, hint)


def _overlaps(router: Router) -> Faults:
    """Legs in different networks with common addresses: the router could not tell them apart."""
    seen: list[tuple[int, ipaddress.IPv4Network | ipaddress.IPv6Network]] = []
    for number, leg in enumerate(router.legs):
        for position, text in enumerate(leg.addresses):
            net = _interface(text).network
            for other, earlier in seen:
                if other != number and earlier.version == net.version and earlier.overlaps(net):
                    problem = f"the legs in {router.legs[other].network} and {leg.network} overlap: {earlier}, {net}"
                    path = ("leg", number, "addresses", position)
                    yield fault(Kind.ROUTER, router.name, path, problem, "write prefixes without common addresses")
            seen.append((number, net))


def _reached(legs: Iterable[Leg], text: str) -> bool:
    return any(address(text) in _interface(own).network for leg in legs for own in leg.addresses)


def _routes(router: Router) -> Faults:
    seen: set[str] = set()
    own = {str(_interface(text).ip) for leg in router.legs for text in leg.addresses}
    for number, (prefix, via) in enumerate(router.routes):
        if network(prefix).version != address(via).version:
            problem = f"{prefix} and {via} are of different families"
            yield fault(Kind.ROUTER, router.name, ("route", number, "via"), problem, "write both IPv4, or both IPv6")
        elif via in own or not _reached(router.legs, via):
            problem = f"{via} is no neighbour of the router"
            hint = "write an address of another machine in the network of one of its legs"
            yield fault(Kind.ROUTER, router.name, ("route", number, "via"), problem, hint)
        if prefix in seen:
            problem = f"there are two routes to {prefix}"
            yield fault(Kind.ROUTER, router.name, ("route", number, "prefix"), problem, "keep one of them")
        seen.add(prefix)


def _floating(router: Router, desired: Desired) -> Faults:
    outward = [leg for leg in router.legs if leg.snat]
    seen: set[str] = set()
    held = {str(_interface(text).ip) for leg in router.legs for text in leg.addresses}
    held.update(text for leg in outward for text in _held_in(desired, leg.network))
    for number, (outside, inside) in enumerate(router.floating):
        path = ("floating", number, "outside")
        if not _reached(outward, outside):
            problem = f"{outside} is in the subnet of no leg with snat"
            hint = "write an address of the network outside, and snat = true at that leg"
            yield fault(Kind.ROUTER, router.name, path, problem, hint)
        if outside in held:
            problem = f"{outside} is the address of something else"
            yield fault(Kind.ROUTER, router.name, path, problem, "write an address that is free")
        for text in (outside, inside):
            if text in seen:
                problem = f"{text} is in another floating address already"
                yield fault(Kind.ROUTER, router.name, ("floating", number), problem, "write it once")
        seen.update((outside, inside))
        yield from _inside(router, desired, ("floating", number, "inside"), outside, inside)


def _held_in(desired: Desired, name: str) -> set[str]:
    """Addresses of ports and of the network itself in one network."""
    held = {text for (where, text) in own_addresses(desired) if where == name}
    held.update(text for port in desired.ports.values() if port.network == name for text in port.addresses)
    return held


def _forwards(router: Router, desired: Desired) -> Faults:
    own = {str(_interface(text).ip) for leg in router.legs for text in leg.addresses}
    seen: set[tuple[str, str, int]] = set()
    for number, forward in enumerate(router.forwards):
        if forward.outside not in own:
            problem = f"{forward.outside} is no address of the router"
            hint = "write one of " + ", ".join(sorted(own)) if own else "give it a leg"
            yield fault(Kind.ROUTER, router.name, ("forward", number, "outside"), problem, hint)
        key = (forward.protocol, forward.outside, forward.outside_port)
        if key in seen:
            problem = f"{forward.protocol} {forward.outside} {forward.outside_port} is forwarded already"
            path = ("forward", number, "outside-port")
            yield fault(Kind.ROUTER, router.name, path, problem, "write another port")
        seen.add(key)
        yield from _inside(router, desired, ("forward", number, "inside"), forward.outside, forward.inside)


def _inside(router: Router, desired: Desired, path: tuple[str | int, ...], outside: str, inside: str) -> Faults:
    """The inner address must be one that a port has, in a network of one of the legs."""
    if address(outside).version != address(inside).version:
        problem = f"{outside} and {inside} are of different families"
        yield fault(Kind.ROUTER, router.name, path, problem, "write both IPv4, or both IPv6")
        return
    names = {leg.network for leg in router.legs}
    known = [text for port in desired.ports.values() if port.network in names for text in port.addresses]
    if inside not in known:
        problem = f"no guest has the address {inside} in a network of this router"
        yield fault(Kind.ROUTER, router.name, path, problem, nearest(inside, known, "guest with an address there"))
