"""A small pf: reads the rules that we generate, in the words of pf.conf(5), and judges packets by them.

Knows what the generator uses and stops at anything else, so that a new word is not taken for a match.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Packet:
    """way: "in" or "out" of the interface. flags: of TCP, e.g. "S" or "A"."""

    way: str
    source: str
    destination: str
    protocol: int
    port: int = 0
    source_port: int = 0
    icmp: tuple[int, int] = (0, 0)
    flags: str = "S"


@dataclass
class Rule:
    action: str
    ways: tuple[str, ...] = ("in", "out")
    quick: bool = False
    interface: str = ""
    version: int = 0
    protocol: int = 0
    source: str = "any"
    destination: str = "any"
    source_ports: tuple[int, int] = (0, 65535)
    ports: tuple[int, int] = (0, 65535)
    icmp: tuple[int, int] = (-1, -1)
    state: bool = True
    syn: bool = False
    labels: list[str] = field(default_factory=list)


_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58}


def parse(line: str) -> Rule:
    words = line.split()
    rule = Rule(words.pop(0))
    side = ""
    while words:
        word = words.pop(0)
        if word in ("in", "out"):
            rule.ways = (word,)
        elif word == "quick":
            rule.quick = True
        elif word == "on":
            rule.interface = words.pop(0)
        elif word in ("inet", "inet6"):
            rule.version = 6 if word == "inet6" else 4
        elif word == "proto":
            name = words.pop(0)
            rule.protocol = int(name) if name.isdigit() else _PROTOCOLS[name]
        elif word in ("from", "to"):
            side = word
            setattr(rule, "source" if word == "from" else "destination", words.pop(0))
        elif word == "port":
            setattr(rule, "source_ports" if side == "from" else "ports", _ports(words.pop(0)))
        else:
            _options(rule, word, words)
    if rule.state and rule.protocol in (0, 6):
        rule.syn = True  # pf.conf(5): flags S/SA is the default of a rule that keeps state
    return rule


def _options(rule: Rule, word: str, words: list[str]) -> None:
    if word in ("icmp-type", "icmp6-type"):
        rule.icmp = (int(words.pop(0)), -1)
        if words[:1] == ["code"]:
            words.pop(0)
            rule.icmp = (rule.icmp[0], int(words.pop(0)))
    elif word == "flags":
        assert words.pop(0) == "S/SA"
        assert rule.protocol in (0, 6), "flags only apply to tcp"
    elif word == "no":
        assert words.pop(0) == "state"
        rule.state = False
    elif word == "keep":
        assert words[:2] == ["state", "(if-bound)"]
        del words[:2]
    elif word == "label":
        rule.labels.append(words.pop(0).strip('"'))
        assert len(rule.labels[-1]) <= 63
    else:
        assert word == "all", word


def _ports(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    assert 0 <= int(first) <= 65535
    return int(first), int(last or first)


def judge(text: str, packet: Packet, interface: str, tables: Mapping[str, Sequence[str]]) -> str:
    """What the rules, below a main ruleset that drops, do with a packet without a state: drop, state or pass."""
    last = Rule("block")
    for rule in map(parse, text.splitlines()):
        if _matches(rule, packet, interface, tables):
            last = rule
            if rule.quick:
                break
    return "drop" if last.action != "pass" else ("state" if last.state else "pass")


def _matches(rule: Rule, packet: Packet, interface: str, tables: Mapping[str, Sequence[str]]) -> bool:
    version = ipaddress.ip_address(packet.source).version
    low, high = rule.ports
    source_low, source_high = rule.source_ports
    if rule.ports != (0, 65535) or rule.source_ports != (0, 65535):
        assert rule.protocol in (6, 17), "port only applies to tcp/udp"
    return (
        packet.way in rule.ways
        and rule.interface in ("", interface)
        and rule.version in (0, version)
        and rule.protocol in (0, packet.protocol)
        and _covers(rule.source, packet.source, tables)
        and _covers(rule.destination, packet.destination, tables)
        and low <= packet.port <= high
        and source_low <= packet.source_port <= source_high
        and rule.icmp[0] in (-1, packet.icmp[0])
        and rule.icmp[1] in (-1, packet.icmp[1])
        and not (rule.syn and packet.protocol == 6 and packet.flags != "S")
    )


def _covers(end: str, address: str, tables: Mapping[str, Sequence[str]]) -> bool:
    if end == "any":
        return True
    prefixes = tables.get(end.strip("<>"), ()) if end.startswith("<") else (end,)
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(prefix) for prefix in prefixes)
