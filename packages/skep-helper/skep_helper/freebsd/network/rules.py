"""The rules of a port (its security groups) as a pf anchor, and the same judgement in Python for states that stand.

Members of the bridge are filtered one by one: what a guest sends comes in on its tap, what it gets goes out on it, and
each direction needs a rule of its own port. A state belongs to one tap (if-bound), so a flow that one side never
allowed is never taken for established. A flow begins with a TCP SYN or with any packet of another protocol. Every rule
is quick; what none of an anchor's rules passes is dropped by the main ruleset. Pure functions.

Stateful rules come before stateless ones, so that of two rules that allow a packet the one that lets answers back
decides. IPv6 fragments have no ports to pf: they pass by rules for any protocol only. IPv4 fragments are put together
before the rules see them.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...handlers import Failure
from ...vocabulary import FilterRule, PortSpec, Rejected

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_WORDS = {"tcp": "tcp", "udp": "udp", "sctp": "132"}
_LAST_PROTOCOL = 255
_ICMP = {"ipv4": ("icmp", 1), "ipv6": ("icmp6", 58)}
_AF = {"ipv4": "inet", "ipv6": "inet6"}
_ALWAYS_OUT = (
    "inet proto udp from any port 68 to any port 67",
    "inet6 proto udp from any port 546 to any port 547",
    *(f"inet6 proto icmp6 all icmp6-type {kind}" for kind in (133, 135, 136, 131, 132, 143)),
)
"""What a guest may always send: questions for an address, neighbour discovery, reports of groups it listens to."""
_ALWAYS_IN = (
    "inet proto udp from any port 67 to any port 68",
    "inet6 proto udp from any port 547 to any port 546",
    *(f"inet6 proto icmp6 all icmp6-type {kind}" for kind in (134, 135, 136, 130)),
)

Groups = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Flow:
    """A state as its first packet was. port: of the destination. An ICMP state does not tell its type."""

    source: str
    destination: str
    protocol: int
    port: int = -1


def anchor(interface: str) -> str:
    """The anchor of a port's rules."""
    return f"sg/{interface}"


def table(group: str) -> str:
    """The table of a remote group's addresses (of both families); pf's names have at most 31 characters."""
    return "g" + hashlib.sha256(group.encode()).hexdigest()[:24]


def text(interface: str, spec: PortSpec) -> str:
    """The anchor of a port, for pfctl -f."""
    return "".join(f"{line}\n" for line in _lines(interface, spec))


def check(spec: PortSpec) -> None:
    """Whether pf can hold these rules; raises Rejected (no such protocol) and Failure (unsupported)."""
    for rule in spec.rules:
        if rule.number > _LAST_PROTOCOL:
            raise Rejected(f"port {spec.name}: {rule.number} is not the number of an IP protocol (at most 255)")
        if rule.protocol == "sctp" and ports(rule) != (-1, -1):
            message = f"port {spec.name}: pf knows no ports of SCTP on this release: allow sctp without ports"
            raise Failure("unsupported", message)


def _lines(interface: str, spec: PortSpec) -> Iterator[str]:
    if not spec.filtered:
        # Flows are tracked all the same: rules that are switched on later keep those that they allow.
        yield f"pass quick on {interface} all flags S/SA keep state (if-bound)"
        yield f"pass quick on {interface} all no state"
        return
    for always in _ALWAYS_OUT:
        yield f"pass in quick on {interface} {always} no state"
    for always in _ALWAYS_IN:
        yield f"pass out quick on {interface} {always} no state"
    for rule in sorted(spec.rules, key=lambda rule: rule.stateless):
        yield _rule(interface, rule)


def _rule(interface: str, rule: FilterRule) -> str:
    way = "in" if rule.direction == "out" else "out"  # pf's words are the bridge's, the rule's are the guest's
    match = " ".join(_match(rule))
    state = "no state" if rule.stateless else "keep state (if-bound)"
    flags = "flags S/SA " if rule.protocol in ("tcp", "") and not rule.number and not rule.stateless else ""
    return f'pass {way} quick on {interface} {match} {flags}{state} label "{label(rule)}"'


def label(rule: FilterRule) -> str:
    """What names a rule in pfctl -sl, the same for the same rule."""
    return f"{rule.direction}-{hashlib.sha256(repr(rule).encode()).hexdigest()[:16]}"


def _match(rule: FilterRule) -> Iterator[str]:
    yield _AF[rule.family]
    if rule.protocol:
        yield f"proto {_WORDS.get(rule.protocol) or _ICMP[rule.family][0]}"
    elif rule.number:
        yield f"proto {rule.number}"
    remote = _remote(rule)
    first, last = ports(rule)
    port = "" if first < 0 else (f" port {first}" if first == last else f" port {first}:{last}")
    yield f"from {remote} to any{port}" if rule.direction == "in" else f"from any to {remote}{port}"
    if rule.protocol == "icmp" and rule.first >= 0:
        word = f"{_ICMP[rule.family][0]}-type"
        yield f"{word} {rule.first}" + (f" code {rule.last}" if rule.last >= 0 else "")


def _remote(rule: FilterRule) -> str:
    if rule.group is not None:
        return f"<{table(rule.group)}>"
    if rule.remote is None or not ipaddress.ip_network(rule.remote, strict=False).prefixlen:
        return "any"
    return str(ipaddress.ip_network(rule.remote, strict=False))


def ports(rule: FilterRule) -> tuple[int, int]:
    """The destination ports of a rule, (-1, -1) for any; one given alone stands for both ends."""
    if rule.protocol not in PROTOCOLS or (rule.first < 0 and rule.last < 0):
        return (-1, -1)
    return (max(rule.first, 0), rule.last if rule.last >= 0 else rule.first)


def groups_of(spec: PortSpec) -> set[str]:
    """The groups that a port's rules name."""
    return {rule.group for rule in spec.rules if rule.group is not None}


def allows(spec: PortSpec, direction: str, flow: Flow, groups: Groups) -> bool:
    """Whether the rules would let this flow begin and keep it (stateless rules keep none).

    An ICMP flow is kept only by a rule for every type: another that is allowed begins again with its next request.
    """
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
        return flow.protocol == _ICMP[rule.family][1] and rule.first < 0
    if rule.protocol:
        first, last = ports(rule)
        return flow.protocol == PROTOCOLS[rule.protocol] and (first < 0 or first <= flow.port <= last)
    return rule.number in (0, flow.protocol)
