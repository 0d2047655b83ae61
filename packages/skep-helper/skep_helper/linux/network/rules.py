"""The rules of a port (its security groups): chains for nft, and the same judgement in Python for flows that stand.

Flows are tracked once for the whole network. A flow's mark says which port's rules let it begin: the upper half
names the port that sent its first packet, the lower half the port that got it, each as FLAG | number. A port lets
later packets of a flow pass when its own half says so, so a flow that one side never allowed is never taken for
established, and a change of rules finds its flows by the mark. Packets to group addresses are not tracked: the rules
judge each. Pure functions.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...vocabulary import FilterRule, PortSpec

FLAG = 0x8000
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_ICMP = {"ipv4": 1, "ipv6": 58}

Groups = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Flow:
    """A tracked flow as its first packet was: first, last of a rule are compared with port (icmp: type, code)."""

    source: str
    destination: str
    protocol: int
    port: int = -1
    icmp: tuple[int, int] = (-1, -1)
    mark: int = 0
    identity: bytes = b""
    """What names the flow to the kernel."""


def chain_names(interface: str) -> tuple[str, str, str, str]:
    """The chains of packets from the guest and to it, and those where their flows are marked as begun."""
    return (f"out-{interface}", f"in-{interface}", f"out-{interface}-begin", f"in-{interface}-begin")


def chains(interface: str, spec: PortSpec, number: int) -> dict[str, list[str]]:
    """The chains of a port with their rules. What returns from them has passed."""
    out, into, begin_out, begin_in = chain_names(interface)
    return {
        begin_out: [f"ct direction original ct mark set ct mark & 0x0000ffff | {outgoing_mark(number):#010x}"],
        begin_in: [f"ct direction original ct mark set ct mark & 0xffff0000 | {incoming_mark(number):#010x}"],
        out: list(_outgoing(spec, number, f"goto {begin_out}")),
        into: list(_incoming(spec, number, f"goto {begin_in}")),
    }


def outgoing_mark(number: int) -> int:
    return (FLAG | number) << 16


def incoming_mark(number: int) -> int:
    return FLAG | number


def group_set(family: str, group: str) -> str:
    return f"g{family[-1]}-{group}"


def _outgoing(spec: PortSpec, number: int, begin: str) -> Iterator[str]:
    if not spec.filtered:
        yield begin
        return
    yield "ct state invalid drop"
    yield f"ct direction original ct mark & 0xffff0000 == {outgoing_mark(number):#010x} return"
    yield f"ct direction reply ct mark & 0x0000ffff == {incoming_mark(number):#010x} return"
    yield "meta protocol ip udp sport 68 udp dport 67 return"
    yield "meta protocol ip6 udp sport 546 udp dport 547 return"
    yield (
        "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-report, "
        "mld-listener-done, mld2-listener-report } return"
    )
    yield from _allowed(spec, "out", begin)


def _incoming(spec: PortSpec, number: int, begin: str) -> Iterator[str]:
    if not spec.filtered:
        yield begin
        return
    yield "ct state invalid drop"
    yield f"ct direction original ct mark & 0x0000ffff == {incoming_mark(number):#010x} return"
    yield f"ct direction reply ct mark & 0xffff0000 == {outgoing_mark(number):#010x} return"
    yield "meta protocol ip udp sport 67 udp dport 68 return"
    yield "meta protocol ip6 udp sport 547 udp dport 546 return"
    yield "icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query } return"
    yield from _allowed(spec, "in", begin)


def _allowed(spec: PortSpec, direction: str, begin: str) -> Iterator[str]:
    for rule in spec.rules:
        if rule.direction == direction:
            yield f"{match(rule)} {'return' if rule.stateless else begin}"
    yield "drop"


def match(rule: FilterRule) -> str:
    """What a packet must be for a rule to allow it."""
    internet = "ip" if rule.family == "ipv4" else "ip6"
    side = "saddr" if rule.direction == "in" else "daddr"
    parts = [f"meta protocol {internet}"]
    if rule.group is not None:
        parts.append(f"{internet} {side} @{group_set(rule.family, rule.group)}")
    elif rule.remote is not None and ipaddress.ip_network(rule.remote, strict=False).prefixlen:
        parts.append(f"{internet} {side} {ipaddress.ip_network(rule.remote, strict=False)}")
    return " ".join([*parts, *_transport(rule)])


def _transport(rule: FilterRule) -> Iterator[str]:
    if rule.protocol == "icmp":
        word = "icmp" if rule.family == "ipv4" else "icmpv6"
        if rule.first < 0:
            yield f"meta l4proto {_ICMP[rule.family]}"
        else:
            yield f"{word} type {rule.first}"
            if rule.last >= 0:
                yield f"{word} code {rule.last}"
    elif rule.protocol:
        first, last = ports(rule)
        yield f"meta l4proto {rule.protocol}" if first < 0 else f"{rule.protocol} dport {first}-{last}"
    elif rule.number:
        yield f"meta l4proto {rule.number}"


def ports(rule: FilterRule) -> tuple[int, int]:
    """The destination ports of a rule, (-1, -1) for any; one given alone stands for both ends."""
    if rule.first < 0 and rule.last < 0:
        return (-1, -1)
    return (max(rule.first, 0), rule.last if rule.last >= 0 else rule.first)


def groups_of(spec: PortSpec) -> set[tuple[str, str]]:
    """The (family, group) that a port's rules name."""
    return {(rule.family, rule.group) for rule in spec.rules if rule.group is not None}


def allows(spec: PortSpec, direction: str, flow: Flow, groups: Groups) -> bool:
    """Whether the rules would let this flow begin and keep it (stateless rules keep none)."""
    if not spec.filtered:
        return True
    return any(
        rule.direction == direction and not rule.stateless and _matches(rule, flow, groups) for rule in spec.rules
    )


def _matches(rule: FilterRule, flow: Flow, groups: Groups) -> bool:
    remote = ipaddress.ip_address(flow.source if rule.direction == "in" else flow.destination)
    if remote.version != (4 if rule.family == "ipv4" else 6):
        return False
    prefixes: Sequence[str] | None = [rule.remote] if rule.remote is not None else None
    if rule.group is not None:
        prefixes = groups.get(rule.group, ())
    if prefixes is not None and not any(remote in ipaddress.ip_network(p, strict=False) for p in prefixes):
        return False
    return _matches_transport(rule, flow)


def _matches_transport(rule: FilterRule, flow: Flow) -> bool:
    if rule.protocol == "icmp":
        kind, code = flow.icmp
        same_kind = rule.first < 0 or (kind == rule.first and rule.last in (-1, code))
        return flow.protocol == _ICMP[rule.family] and same_kind
    if rule.protocol:
        first, last = ports(rule)
        return flow.protocol == _PROTOCOLS[rule.protocol] and (first < 0 or first <= flow.port <= last)
    return rule.number in (0, flow.protocol)
