"""Ports, their rules, and the groups that rules speak of."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
from collections.abc import Iterable, Iterator, Mapping

from skep_helper.vocabulary import FilterRule, PortSpec
from skep_helper.vocabulary.network import AddressPair

from skepd.model.macs import mac_of
from skepd.model.objects import Filter, Port, Router, Rule

from .digests import NO_DIGEST, digest_of, sealed

_WORDS = ("", "tcp", "udp", "icmp", "sctp")
_ICMP = ("icmp", "icmpv6", "ipv6-icmp")


def filter_rules(rules: Iterable[Rule]) -> tuple[FilterRule, ...]:
    """Rules of the model in the vocabulary's words; each once. Raises Rejected."""
    return tuple(dict.fromkeys(_rule(rule) for rule in rules))


def _rule(rule: Rule) -> FilterRule:
    protocol = "icmp" if rule.protocol in _ICMP else rule.protocol
    number = 0
    if protocol.isdecimal():
        protocol, number = "", int(protocol)
    if protocol == "icmp":
        first, last = rule.icmp_type, rule.icmp_code
    else:
        first, last = _range(rule.ports)
    return FilterRule(
        direction=rule.direction,
        family=rule.family,
        protocol=protocol,
        number=number,
        first=first,
        last=last,
        remote=rule.remote,
        group=rule.group,
        stateless=rule.stateless,
    )


def _range(ports: str) -> tuple[int, int]:
    if not ports:
        return -1, -1
    first, _, last = ports.partition("-")
    return int(first), int(last or first)


def port_spec(port: Port, filters: tuple[Filter, ...]) -> PortSpec:
    """filters: those that port.filters names, in order. Raises Rejected."""
    rules = filter_rules(rule for group in filters for rule in group.rules)
    spec = PortSpec(
        name=port.name,
        network=port.network,
        digest=NO_DIGEST,
        rules_digest=digest_of([bool(filters), rules]),
        mac=mac_of(port),
        guest=port.guest,
        addresses=port.addresses,
        pairs=tuple(AddressPair(mac=mac, prefix=prefix) for mac, prefix in port.pairs),
        guarded=port.guard,
        filtered=bool(filters),
        rules=rules,
        vlans=port.vlans,
    )
    return sealed(spec)


def collapsed(addresses: Iterable[str]) -> tuple[str, ...]:
    """Addresses and prefixes in the one canonical form: neighbours joined, IPv4 first, sorted.

    A kernel that stores sets as ranges joins neighbours too, so what is read back compares equal.
    """
    four: list[ipaddress.IPv4Network] = []
    six: list[ipaddress.IPv6Network] = []
    for text in addresses:
        prefix = ipaddress.ip_network(text, strict=False)
        if isinstance(prefix, ipaddress.IPv4Network):
            four.append(prefix)
        else:
            six.append(prefix)
    joined = [*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six)]
    return tuple(str(prefix) for prefix in joined)


def group_members(
    ports: Mapping[str, Port], filters: Mapping[str, Filter], routers: Mapping[str, Router]
) -> dict[tuple[str, str], tuple[str, ...]]:
    """(network, filter) -> addresses of its members, for every remote group that a rule in the network names.

    Members are the ports that use the filter in this network or in one that routers join to it: an address in a
    network that cannot be reached from here may be somebody else's here.
    """
    named = {name: tuple(sorted({rule.group for rule in group.rules if rule.group})) for name, group in filters.items()}
    used = {
        (port.network, group): None
        for port in ports.values()
        for filter_name in port.filters
        for group in named.get(filter_name, ())
    }
    if not used:
        return {}
    island = _islands(routers)
    wanted = {group for _, group in used}
    members: dict[tuple[str, str], list[str]] = {}
    for port in ports.values():
        for group in wanted.intersection(port.filters):
            key = (island.get(port.network, port.network), group)
            members.setdefault(key, []).extend((*port.addresses, *(prefix for _, prefix in port.pairs)))
    return {
        (network, group): collapsed(members.get((island.get(network, network), group), ())) for network, group in used
    }


def _islands(routers: Mapping[str, Router]) -> dict[str, str]:
    """NETWORK -> the first of all networks that routers join it to, itself included."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    for router in routers.values():
        for one, other in _neighbours([leg.network for leg in router.legs]):
            low, high = sorted((find(one), find(other)))
            leader[high] = low
    return {name: find(name) for name in list(leader)}


def _neighbours(names: list[str]) -> Iterator[tuple[str, str]]:
    yield from itertools.pairwise(names)


def same_but_rules(one: PortSpec, other: PortSpec) -> bool:
    """Whether two ports differ in their rules at most."""
    blank = dataclasses.replace(other, digest=one.digest, rules_digest=one.rules_digest)
    return dataclasses.replace(blank, filtered=one.filtered, rules=one.rules) == one
