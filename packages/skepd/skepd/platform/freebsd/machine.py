"""What a FreeBSD machine has of what Skep needs: the administrator's files and the kernel. Parsers are pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ASSIGNMENT = re.compile(r"""^\s*([A-Za-z0-9_.%-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^#\s]*))""")
_RULESET = re.compile(r"^\[([A-Za-z0-9_]+)=([0-9]+)\]\s*$")
_MODULE = re.compile(r"^\s+[0-9]+ (\S+)$")
_DEVICE = re.compile(r"^(\S+?)[0-9]*@pci([0-9]+):([0-9]+):([0-9]+):([0-9]+):")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """rc: variables of rc.conf that are not as the system has them by default. loader, sysctl_conf: settings of those
    files. kernel: sysctls by name, those that were asked for and are there. modules: in the kernel; builtin: those of
    them that are compiled in, and need no line. rulesets: devfs(8) rule sets by number. policy: of skep-helper.
    datasets: mount points and volmodes by name. drivers: by PCI address. files: paths that were asked for and are
    there."""

    release: int = 0
    rc: Mapping[str, str] = field(default_factory=dict)
    loader: Mapping[str, str] = field(default_factory=dict)
    sysctl_conf: Mapping[str, str] = field(default_factory=dict)
    kernel: Mapping[str, str] = field(default_factory=dict)
    modules: frozenset[str] = frozenset()
    builtin: frozenset[str] = frozenset()
    rulesets: Mapping[int, str] = field(default_factory=dict)
    pools: frozenset[str] = frozenset()
    policy: Mapping[str, Any] = field(default_factory=dict)
    datasets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    drivers: Mapping[str, str] = field(default_factory=dict)
    interfaces: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()


def parse_sysrc(text: str) -> dict[str, str]:
    """From `sysrc -a`: ``name: value``. What has no colon continues the value of the line above."""
    found: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        name, colon, value = line.partition(": ")
        if colon and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            found[name], last = value.strip(), name
        elif line.endswith(":") and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*:", line):
            found[line[:-1]], last = "", line[:-1]
        elif last:
            found[last] = f"{found[last]} {line.strip()}".strip()
    return found


def parse_settings(*texts: str) -> dict[str, str]:
    """From loader.conf(5) and sysctl.conf(5) files, read one after the other: the last setting of a name holds."""
    found: dict[str, str] = {}
    for text in texts:
        for line in text.splitlines():
            match = _ASSIGNMENT.match(line)
            if match:
                name, *values = match.groups()
                found[name] = next((value for value in values if value is not None), "")
    return found


def parse_sysctl(text: str) -> dict[str, str]:
    """From `sysctl -ie NAME ...`: ``name=value``."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def parse_modules(text: str) -> frozenset[str]:
    """From `kldstat -v`: the files, without .ko, and the modules that they contain."""
    found = set()
    for line in text.splitlines():
        match = _MODULE.match(line)
        if match:
            found.add(match[1].rpartition("/")[2])
        else:
            words = line.split()
            found.update(word.removesuffix(".ko") for word in words[4:5] if words[0].isdigit())
    return frozenset(found)


def parse_builtin(text: str) -> frozenset[str]:
    """From `kldstat -v`: the modules that the file `kernel` contains."""
    parts = re.split(r"^ *[0-9]+ +[0-9]+ 0x", text, flags=re.MULTILINE)
    return frozenset().union(*(parse_modules(part.partition("\n")[2]) for part in parts if " kernel (" in part))


def parse_rulesets(*texts: str) -> dict[int, str]:
    """From devfs.rules(5) files: the names of rule sets by number."""
    matches = (_RULESET.match(line) for text in texts for line in text.splitlines())
    return {int(match[2]): match[1] for match in matches if match}


def parse_policy(text: str) -> dict[str, Any]:
    """From skep-helper's policy; empty when it is not TOML, which skep-helper says when it starts."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def parse_datasets(text: str) -> dict[str, dict[str, str]]:
    """From `zfs get -Hp -o name,property,value ...`."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) == 3:
            found.setdefault(fields[0], {})[fields[1]] = fields[2]
    return found


def parse_drivers(text: str) -> dict[str, str]:
    """From `pciconf -l`: drivers by PCI address (0000:03:00.0); "none" for a device that no driver took."""
    found = {}
    for line in text.splitlines():
        match = _DEVICE.match(line)
        if match:
            domain, bus, slot, function = (int(number) for number in match.groups()[1:])
            found[f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"] = match[1]
    return found
