"""Kinds of lines that a FreeBSD machine needs, and how each is compared with what the machine has. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from skepd.plan.needs import COMMAND, DIFFERENT, MISSING, PENDING, PRESENT, Need, words_missing

from .machine import Machine

RC, LOADER, SYSCTL, DEVFS = "/etc/rc.conf", "/boot/loader.conf", "/etc/sysctl.conf", "/etc/devfs.rules"
POLICY = "/usr/local/etc/skep/policy.toml"
_ADDRESSED = ("DHCP", "SYNCDHCP", "NOSYNCDHCP", "inet")
_UP = ("up", *_ADDRESSED)
"""Words of ifconfig_IF that bring an interface up."""


def _there(machine: Machine, place: str) -> dict[str, str]:
    return dict({RC: machine.rc, LOADER: machine.loader, SYSCTL: machine.sysctl_conf}[place])


def _line(place: str, name: str, value: str) -> str:
    return f"{name}={value}" if place == SYSCTL else f'{name}="{value}"'


@dataclass(frozen=True)
class Setting:
    """One variable with one value. kernel: the sysctl that must have the value too. same: whether another value will do
    as well: (there, wanted)."""

    place: str
    name: str
    value: str
    reason: str
    kernel: str = ""
    same: Callable[[str, str], bool] = str.__eq__

    def need(self, machine: Machine | None) -> Need:
        state, found = self._state(machine) if machine else ("", "")
        line = _line(self.place, self.name, self.value)
        return Need(place=self.place, line=line, reason=self.reason, state=state, found=found)

    def _state(self, machine: Machine) -> tuple[str, str]:
        there = _there(machine, self.place).get(self.name)
        if there is None:
            return MISSING, ""
        if not self.same(there, self.value) and there.upper() != self.value:
            return DIFFERENT, f"{self.name} is {there!r} there"
        live = machine.kernel.get(self.kernel) if self.kernel else None
        if live is not None and live != self.value and not self.same(live, self.value):
            how = "at the next boot" if self.place == LOADER else "by `service sysctl restart`"
            return PENDING, f"the kernel still has {live}; it changes {how}"
        return PRESENT, ""


@dataclass(frozen=True)
class Words:
    """One variable that must have these words among others. modules: each word is a kernel module. lent: each word is a
    PCI device that ppt(4) must hold."""

    place: str
    name: str
    words: tuple[str, ...]
    reason: str
    modules: bool = False
    lent: bool = False

    def need(self, machine: Machine | None) -> Need:
        there = _there(machine, self.place).get(self.name, "") if machine else ""
        # Compiled into the kernel, and not written: nothing is to be loaded.
        known = machine.builtin if self.modules and machine else frozenset()
        lacking = tuple(word for word in words_missing(there, self.words) if word not in known)
        state, found = self._state(machine, there, lacking) if machine else ("", "")
        # What the administrator has in this variable stays in it.
        line = _line(self.place, self.name, " ".join([*there.split(), *lacking]))
        return Need(place=self.place, line=line, reason=self.reason, state=state, found=found)

    def _state(self, machine: Machine, there: str, lacking: tuple[str, ...]) -> tuple[str, str]:
        if lacking:
            return MISSING, f"without {', '.join(lacking)}" if there else ""
        if self.modules:
            absent = [word for word in self.words if word not in machine.modules]
            if absent:
                return PENDING, f"not in the kernel: {', '.join(absent)}; `service kld start` loads it, or says why not"
        if self.lent:
            held = {_word(address) for address, driver in machine.drivers.items() if driver == "ppt"}
            absent = [word for word in self.words if word not in held]
            if absent:
                return PENDING, f"not held by ppt(4): {', '.join(absent)}; it takes them at the next boot"
        return PRESENT, ""


@dataclass(frozen=True)
class Interface:
    """ifconfig_IF, or one of its kin. options: of ifconfig(8), as "mtu 9000". address: as "inet 10.0.0.1/24"."""

    name: str
    options: tuple[str, ...]
    reason: str
    address: str = ""

    def need(self, machine: Machine | None) -> Need:
        there = _prefixes(machine.rc.get(self.name, "")) if machine else ""
        lacking = [option for option in self._wanted() if not _says(there, option)]
        addressed = any(f" {sign} " in f" {there} " for sign in _ADDRESSED)
        wrong = addressed and bool(self.address) and self.address in lacking
        # What the administrator has in this variable stays in it, but for another address.
        words = self._wanted() if wrong else [*([there] if there else []), *lacking]
        state, found = ("", "") if machine is None else (PRESENT, "")
        if machine is not None and lacking:
            state = DIFFERENT if wrong else MISSING
            found = f"{there!r} is there" if wrong else f"without {', '.join(lacking)}" if there else ""
        line = _line(RC, self.name, " ".join(words))
        return Need(place=RC, line=line, reason=self.reason, state=state, found=found)

    def _wanted(self) -> list[str]:
        options = [option for option in self.options if not (option == "up" and self.address)]
        return [*([self.address] if self.address else []), *options]


def _says(there: str, option: str) -> bool:
    have = f" {there} "
    return f" {option} " in have or (option == "up" and any(f" {sign} " in have for sign in _UP))


def _prefixes(value: str) -> str:
    """inet A netmask M as inet A/LENGTH; M in dotted or hexadecimal notation."""

    def short(match: re.Match[str]) -> str:
        mask = match[2]
        bits = int(mask, 16) if mask.startswith("0x") else int.from_bytes(bytes(map(int, mask.split("."))))
        return f"inet {match[1]}/{bits.bit_count()}"

    return re.sub(r"\binet ([0-9.]+) netmask (0x[0-9a-fA-F]{8}|[0-9]{1,3}(?:\.[0-9]{1,3}){3})", short, value)


def merged(wants: Iterable[Setting | Words | Interface]) -> list[Setting | Words | Interface]:
    """One want for each variable: an uplink that has an address of the host's is wanted twice."""
    found: dict[str, Setting | Words | Interface] = {}
    for want in wants:
        other = found.get(want.name)
        if isinstance(want, Interface) and isinstance(other, Interface):
            options = tuple(dict.fromkeys((*other.options, *want.options)))
            reason = "; ".join(dict.fromkeys((other.reason, want.reason)))
            want = Interface(want.name, options, reason, other.address or want.address)
        found[want.name] = want
    return list(found.values())


def _word(address: str) -> str:
    _, bus, rest = address.split(":")
    slot, function = rest.split(".")
    return f"{int(bus, 16)}/{int(slot, 16)}/{int(function, 16)}"


@dataclass(frozen=True)
class Allowed:
    """A key of skep-helper's policy. value: true, or a list that must have these entries among others."""

    key: str
    value: bool | tuple[str, ...]
    reason: str

    def need(self, machine: Machine | None) -> Need:
        there = machine.policy.get(self.key) if machine else None
        if isinstance(self.value, bool):
            value, fine = "true", there is True
        else:
            listed = [str(entry) for entry in there] if isinstance(there, list) else []
            names = [*listed, *(name for name in self.value if name not in listed)]
            value, fine = json.dumps(names), names == listed
        state = "" if machine is None else PRESENT if fine else MISSING
        return Need(place=POLICY, line=f"{self.key} = {value}", reason=self.reason, state=state)


@dataclass(frozen=True)
class Ruleset:
    """A rule set of devfs.rules(5). reserved: numbers that no other may have."""

    number: int
    name: str
    text: str
    reason: str
    reserved: range

    def need(self, machine: Machine | None) -> Need:
        state, found = self._state(machine) if machine else ("", "")
        return Need(place=DEVFS, line=self.text, reason=self.reason, state=state, found=found)

    def _state(self, machine: Machine) -> tuple[str, str]:
        taken = [f"{name}={number}" for number, name in machine.rulesets.items() if number in self.reserved]
        if taken:
            between = f"{self.reserved.start} to {self.reserved.stop - 1}"
            return DIFFERENT, f"{', '.join(taken)}: guests' own rule sets have the numbers {between}; take others"
        there = machine.rulesets.get(self.number)
        if there is None:
            return MISSING, ""
        return (PRESENT, "") if there == self.name else (DIFFERENT, f"{self.number} is called {there} there")


@dataclass(frozen=True)
class Command:
    """Something that root does once. done: whether it was. wrong: what is there instead of it; "" for nothing."""

    line: str
    reason: str
    done: Callable[[Machine], bool]
    wrong: Callable[[Machine], str] = lambda machine: ""

    def need(self, machine: Machine | None) -> Need:
        state, found = "", ""
        if machine:
            found = "" if self.done(machine) else self.wrong(machine)
            state = PRESENT if self.done(machine) else (DIFFERENT if found else MISSING)
        return Need(place=COMMAND, line=self.line, reason=self.reason, state=state, found=found)


def loader(name: str, value: str, reason: str, kernel: str = "") -> Setting:
    return Setting(LOADER, name, value, reason, kernel)


def sysctl(name: str, value: str, reason: str, same: Callable[[str, str], bool] = str.__eq__) -> Setting:
    return Setting(SYSCTL, name, value, reason, name, same)
