"""Filter rules in words: ``in tcp 22 from 10.0.0.0/8``.

    rule     = ("in" | "out") ["ipv4" | "ipv6"] [protocol] [("from" | "to") remote] ["stateless"]
    protocol = "any" | ("tcp" | "udp" | "sctp") [PORT | FIRST-LAST | list of these with commas]
             | "icmp" ["type" N ["code" N]] | "ping" | "proto" N
    remote   = PREFIX | ADDRESS | "filter" NAME

Without ipv4 or ipv6, and without a prefix that tells, a rule holds for both: one sentence may give several rules.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .errors import nearest
from .objects import Rule
from .schema import Collector, Place, shown
from .types import NAME

FAMILIES = ("ipv4", "ipv6")
WITH_PORTS = ("tcp", "udp", "sctp")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_ECHO = {"ipv4": 8, "ipv6": 128}
_START = ("any", *WITH_PORTS, "icmp", "ping", "proto", *FAMILIES, "from", "to", "filter", "stateless", "type", "code")


@dataclass(frozen=True)
class Rules:
    """A list of sentences, kept as rules."""

    name: str = "list of rules"

    def read(self, value: Any, place: Place) -> tuple[Rule, ...]:
        if not isinstance(value, list):
            raise place.error(f"{shown(value)} is not a list of rules", 'write e.g. ["in tcp 22", "out any"]')
        collector = Collector()
        found = [collector.run(read_rule, entry, place.at(number)) for number, entry in enumerate(value)]
        collector.finish()
        return tuple(rule for rules in found for rule in rules)

    def write(self, value: tuple[Rule, ...]) -> list[str]:
        return [write_rule(rule) for rule in value]


def write_rule(rule: Rule) -> str:
    """The sentence of one rule; read_rule gives exactly this rule back."""
    words = [rule.direction, rule.family]
    if rule.protocol.isdigit():
        words += ["proto", rule.protocol]
    else:
        words.append(rule.protocol or "any")
    words += [rule.ports] if rule.ports else []
    words += ["type", str(rule.icmp_type)] if rule.icmp_type >= 0 else []
    words += ["code", str(rule.icmp_code)] if rule.icmp_code >= 0 else []
    side = "from" if rule.direction == "in" else "to"
    words += [side, rule.remote] if rule.remote else []
    words += [side, "filter", rule.group] if rule.group else []
    words += ["stateless"] if rule.stateless else []
    return " ".join(words)


def read_rule(value: Any, place: Place) -> tuple[Rule, ...]:
    """The rules that one sentence stands for, IPv4 before IPv6; raises DefinitionError."""
    if not isinstance(value, str) or not value.split():
        raise place.error(f"{shown(value)} is not a rule", 'write e.g. "in tcp 22" or "out any"')
    return _Sentence(value, place).read()


class _Sentence:
    def __init__(self, text: str, place: Place) -> None:
        self.text = text
        self.place = place
        self.words = text.split()

    def read(self) -> tuple[Rule, ...]:
        direction = self.words.pop(0)
        if direction not in ("in", "out"):
            raise self._error(f'"{direction}" is no direction', 'begin the rule with "in" or "out"')
        families = [self.words.pop(0)] if self._next() in FAMILIES else list(FAMILIES)
        rules = self._protocol([Rule(direction=direction, family=family) for family in families])
        if self._next() in ("from", "to"):
            rules = self._remote(rules, direction)
        if self._next() == "stateless":
            self.words.pop(0)
            rules = [replace(rule, stateless=True) for rule in rules]
        if self.words:
            raise self._error(f'"{self.words[0]}" is not understood', nearest(self.words[0], _START))
        return tuple(rules)

    def _next(self) -> str:
        return self.words[0] if self.words else ""

    def _error(self, problem: str, hint: str) -> Exception:
        return self.place.error(f'in the rule "{self.text:.80}": {problem}', hint)

    def _number(self, what: str, high: int) -> int:
        word = self.words.pop(0) if self.words else ""
        if not re.fullmatch(r"[0-9]{1,5}", word) or int(word) > high:
            raise self._error(f'"{word}" is no {what}', f"write a number from 0 to {high}")
        return int(word)

    def _protocol(self, rules: list[Rule]) -> list[Rule]:
        word = self._next()
        if word in ("", "from", "to", "stateless"):
            return rules
        self.words.pop(0)
        if word == "any":
            return self._no_ports(rules, word)
        if word in WITH_PORTS:
            return self._ports([replace(rule, protocol=word) for rule in rules])
        if word == "icmp":
            return self._icmp([replace(rule, protocol="icmp") for rule in rules])
        if word == "ping":
            return [replace(rule, protocol="icmp", icmp_type=_ECHO[rule.family]) for rule in rules]
        if word == "proto":
            number = self._number("protocol number", 255)
            return self._no_ports([replace(rule, protocol=str(number)) for rule in rules], f"proto {number}")
        raise self._error(f'"{word}" is no protocol', nearest(word, _START))

    def _no_ports(self, rules: list[Rule], protocol: str) -> list[Rule]:
        if _PORTS.match(self._next()):
            raise self._error(f"{protocol} has no ports", "write tcp, udp or sctp before the ports")
        return rules

    def _icmp(self, rules: list[Rule]) -> list[Rule]:
        if self._next() == "type":
            self.words.pop(0)
            number = self._number("ICMP type", 255)
            rules = [replace(rule, icmp_type=number) for rule in rules]
            if self._next() == "code":
                self.words.pop(0)
                number = self._number("ICMP code", 255)
                rules = [replace(rule, icmp_code=number) for rule in rules]
        return self._no_ports(rules, "icmp")

    def _ports(self, rules: list[Rule]) -> list[Rule]:
        if not re.match(r"[0-9,]", self._next()):
            return rules
        ranges = [self._port_range(part) for part in self.words.pop(0).split(",")]
        return [replace(rule, ports=part) for rule in rules for part in ranges]

    def _port_range(self, text: str) -> str:
        match = _PORTS.fullmatch(text)
        first = int(match[1]) if match else 0
        last = int(match[2]) if match and match[2] else first
        if match is None or not 1 <= first <= last <= 65_535:
            raise self._error(f'"{text}" is no port', 'write "22", "8000-8100" or "80,443" (1 to 65535)')
        return str(first) if first == last else f"{first}-{last}"

    def _remote(self, rules: list[Rule], direction: str) -> list[Rule]:
        side = self.words.pop(0)
        if (side == "from") != (direction == "in"):
            raise self._error(f'"{direction}" and "{side}" do not go together', 'write "in ... from" or "out ... to"')
        word = self.words.pop(0) if self.words else ""
        if word == "filter":
            name = NAME.read(self.words.pop(0) if self.words else "", self.place)
            return [replace(rule, group=name) for rule in rules]
        try:
            remote = ipaddress.ip_network(word)
        except ValueError:
            hint = 'write a prefix without host bits ("10.0.0.0/8") or "filter NAME"'
            raise self._error(f'"{word:.64}" is no prefix', hint) from None
        return self._with_prefix(rules, remote)

    def _with_prefix(self, rules: Sequence[Rule], remote: ipaddress.IPv4Network | ipaddress.IPv6Network) -> list[Rule]:
        family = f"ipv{remote.version}"
        fitting = [replace(rule, remote=str(remote)) for rule in rules if rule.family == family]
        if not fitting:
            raise self._error(f"{rules[0].family} and {remote} do not go together", f"write {family}")
        return fitting
