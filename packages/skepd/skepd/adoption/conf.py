"""vm-bhyve's configuration files (NAME.conf, system.conf), read as vm-bhyve itself reads them.

KEY=VALUE a line, beginning with a lower-case letter in the first column; other lines count as comments. A '#' begins a
comment wherever it stands, double quotes are dropped, blanks at the end too. Of a key that is there twice the first
one counts. Source: lib/vm-config of vm-bhyve 1.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_NO = re.compile(r"no|false|off|0", re.IGNORECASE)


@dataclass(frozen=True)
class Setting:
    """line: 1-based."""

    value: str
    line: int


@dataclass(frozen=True)
class Conf:
    """twice: (key, line) of settings that vm-bhyve never looks at, because the key came before."""

    file: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    twice: tuple[tuple[str, int], ...] = ()

    def get(self, key: str, default: str = "") -> str:
        """A key that is there with an empty value counts as missing, as nearly everywhere in vm-bhyve."""
        found = self.settings.get(key)
        return found.value if found is not None and found.value else default

    def yes(self, key: str, default: bool = False) -> bool:
        """vm-bhyve takes everything for yes that is not no, false, off or 0; a key without value is no."""
        found = self.settings.get(key)
        if found is None:
            return default
        return bool(found.value) and not _NO.fullmatch(found.value)

    def place(self, key: str) -> str:
        """FILE:LINE of a key, FILE alone when it is not there."""
        found = self.settings.get(key)
        return f"{self.file}:{found.line}" if found is not None else self.file

    def numbered(self, prefix: str, suffix: str = "") -> int:
        """How many devices there are: vm-bhyve counts from 0 up and stops at the first number that is missing."""
        number = 0
        while self.get(f"{prefix}{number}{suffix}"):
            number += 1
        return number


def read(text: str, file: str) -> Conf:
    """Never fails: what vm-bhyve does not take for a setting is left out."""
    settings: dict[str, Setting] = {}
    twice: list[tuple[str, int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.partition("#")[0].rstrip(" ").replace('"', "")
        key, equals, value = bare.partition("=")
        if not equals or not re.match("[a-z]", line):
            continue
        if key in settings:
            twice.append((key, number))
        else:
            settings[key] = Setting(value, number)
    return Conf(file, settings, tuple(twice))
