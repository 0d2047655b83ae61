"""What the value of a key may be: each type reads TOML (JSON) values into the model's and writes them back.

Limits are the vocabulary's own checks, so that what is accepted here is accepted by the root side.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from skep_helper.vocabulary import fields
from skep_helper.vocabulary.fields import Rejected

from .errors import nearest
from .schema import Collector, Place, Section, Type, read_section, read_table, shown, write_section

SIZE_UNITS = {"P": 1 << 50, "T": 1 << 40, "G": 1 << 30, "M": 1 << 20, "K": 1 << 10, "B": 1}
TIME_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,9}))? ?([PTGMKB])(?:i?B)?")
_DURATION = re.compile(r"([0-9]{1,9}) ?([dhms])")
# Characters that end a line or that no file can hold.
_CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Scalar:
    """A text or number that passes the checks of a field type of the vocabulary."""

    name: str
    check: Any
    hint: str = ""
    correct: Callable[[str], str] | None = None
    """Makes of a wrong text the right one that was probably meant; "" when it cannot tell."""

    def read(self, value: Any, place: Place) -> Any:
        base, *checks = typing.get_args(self.check)
        if not isinstance(value, base) or isinstance(value, bool):
            raise place.error(f"{shown(value)} is not {self.name}", self.hint)
        try:
            for check in checks:
                check(value)
        except Rejected as error:
            better = self.correct(value) if self.correct and isinstance(value, str) else ""
            hint = f'write "{better}"' if better and better != value else self.hint
            raise place.error(str(error).replace("'", '"'), hint) from None
        return value

    def write(self, value: Any) -> Any:
        return value


@dataclass(frozen=True)
class Boolean:
    name: str = "true or false"

    def read(self, value: Any, place: Place) -> bool:
        if not isinstance(value, bool):
            raise place.error(f"{shown(value)} is not true or false", "write true or false, without quotes")
        return value

    def write(self, value: Any) -> Any:
        return value


@dataclass(frozen=True)
class Number:
    low: int
    high: int

    @property
    def name(self) -> str:
        return f"number ({self.low} to {self.high})"

    def read(self, value: Any, place: Place) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise place.error(f"{shown(value)} is not a number", f"write a number from {self.low} to {self.high}")
        if not self.low <= value <= self.high:
            raise place.error(f"{value} is out of range", f"write a number from {self.low} to {self.high}")
        return value

    def write(self, value: Any) -> Any:
        return value


def _with_unit(value: int, units: Mapping[str, int]) -> str:
    """A number in the largest unit that holds it without rest."""
    unit = next(unit for unit, factor in units.items() if factor == 1 or (value and value % factor == 0))
    return f"{value // units[unit]}{unit}"


def _is_bare(value: Any) -> bool:
    """Whether this is a number that only lacks its unit."""
    return type(value) is int or (isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) is not None)


@dataclass(frozen=True)
class Size:
    """Bytes, written with a unit: "256M" is 256 MiB."""

    low: int = 1
    high: int = 256 << 40
    name: str = "size"

    def read(self, value: Any, place: Place) -> int:
        match = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            unit = f'write "{value}M" or "{value}G"' if _is_bare(value) else 'write e.g. "256M", "20G", "1.5T"'
            raise place.error(f"{shown(value)} is not a size", unit)
        whole, part, unit = match.groups()
        exact = Fraction(f"{whole}.{part or 0}") * SIZE_UNITS[unit]
        # What is no whole number of bytes is cut to whole pages.
        size = int(exact) if exact.denominator == 1 else int(exact) & ~4095
        if not self.low <= size <= self.high:
            limit = f'between "{self.write(self.low)}" and "{self.write(self.high)}"'
            raise place.error(
                f"{shown(value)} is too {'small' if size < self.low else 'large'}", f"write a size {limit}"
            )
        return size

    def write(self, value: int) -> str:
        return _with_unit(value, SIZE_UNITS)


@dataclass(frozen=True)
class Duration:
    """Seconds, written with a unit: "90s", "2m"."""

    low: int = 0
    high: int = 86_400
    name: str = "duration"

    def read(self, value: Any, place: Place) -> int:
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            hint = f'write "{value}s"' if _is_bare(value) else 'write e.g. "90s", "2m", "12h"'
            raise place.error(f"{shown(value)} is not a duration", hint)
        seconds = int(match[1]) * TIME_UNITS[match[2]]
        if not self.low <= seconds <= self.high:
            limit = f'between "{self.write(self.low)}" and "{self.write(self.high)}"'
            raise place.error(f"{shown(value)} is too {'short' if seconds < self.low else 'long'}", f"write {limit}")
        return seconds

    def write(self, value: int) -> str:
        return _with_unit(value, TIME_UNITS)


@dataclass(frozen=True)
class Word:
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return "one of " + ", ".join(f'"{word}"' for word in self.words)

    def read(self, value: Any, place: Place) -> str:
        if not isinstance(value, str) or value not in self.words:
            hint = nearest(value, self.words) if isinstance(value, str) else f"write {self.name}"
            raise place.error(f"{shown(value)} is not {self.name}", hint)
        return value

    def write(self, value: Any) -> Any:
        return value


@dataclass(frozen=True)
class Text:
    """Free text. lines: whether it may have several; otherwise no control character at all."""

    lines: bool = False
    most: int = 256

    @property
    def name(self) -> str:
        return f"text ({'lines' if self.lines else 'one line'}, at most {self.most} characters)"

    def read(self, value: Any, place: Place) -> str:
        if not isinstance(value, str):
            raise place.error(f"{shown(value)} is not a text", 'write it in quotes: "..."')
        if len(value) > self.most:
            raise place.error(f"{len(value)} characters are too many", f"write at most {self.most}")
        found = (_NOT_TEXT if self.lines else _CONTROL).search(value)
        if found:
            hint = "leave it out" if self.lines else "write one line without control characters"
            raise place.error(f"there is a control character (U+{ord(found[0]):04X}) in the text", hint)
        return value

    def write(self, value: Any) -> Any:
        return value


@dataclass(frozen=True)
class Pattern:
    """One line of text of a certain form."""

    name: str
    expression: str
    hint: str

    def read(self, value: Any, place: Place) -> str:
        if not isinstance(value, str) or not re.fullmatch(self.expression, value):
            raise place.error(f"{shown(value)} is not {self.name}", self.hint)
        return value

    def write(self, value: Any) -> Any:
        return value


@dataclass(frozen=True)
class ListOf:
    """A list, kept as tuple. one: whether a single entry may be written without brackets."""

    item: Type
    one: bool = False
    unique: bool = True

    @property
    def name(self) -> str:
        return f"{self.item.name}, or a list of such" if self.one else f"list of: {self.item.name}"

    def read(self, value: Any, place: Place) -> tuple[Any, ...]:
        if self.one and not isinstance(value, list):
            return (self.item.read(value, place),)
        if not isinstance(value, list):
            raise place.error(f"{shown(value)} is not a list", "write it in brackets: [...]")
        collector = Collector()
        items = [collector.run(self.item.read, entry, place.at(number)) for number, entry in enumerate(value)]
        collector.finish()
        for number, entry in enumerate(items if self.unique else []):
            if entry in items[:number]:
                raise place.at(number).error(f"{shown(self.item.write(entry))} stands twice", "write it once")
        return tuple(items)

    def write(self, value: tuple[Any, ...]) -> Any:
        items = [self.item.write(entry) for entry in value]
        return items[0] if self.one and len(items) == 1 else items


@dataclass(frozen=True)
class Table:
    """One table of a section."""

    section: Section

    @property
    def name(self) -> str:
        return "table"

    def read(self, value: Any, place: Place) -> Any:
        return read_section(self.section, value, place)

    def write(self, value: Any) -> Any:
        return write_section(self.section, value)


@dataclass(frozen=True)
class Tables:
    """A list of tables of one section; `named` numbers entries without a name: prefix + number."""

    section: Section
    prefix: str | None = None

    @property
    def name(self) -> str:
        return "tables"

    def read(self, value: Any, place: Place) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise place.error(f"{shown(value)} is not a list of tables", f"write [[...{place.path[-1]}]] before each")
        collector = Collector()
        items = [collector.run(self._read, entry, place.at(number), number) for number, entry in enumerate(value)]
        collector.finish()
        return tuple(items)

    def _read(self, value: Any, place: Place, number: int) -> Any:
        table = read_table(value, place)
        given = {"name": f"{self.prefix}{number}"} if self.prefix is not None and "name" not in table else {}
        return read_section(self.section, table, place, given)

    def write(self, value: tuple[Any, ...]) -> Any:
        return [write_section(self.section, entry) for entry in value]


def _slug(value: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", value.lower())[:63].strip("-")


NAME = Scalar("a name", fields.Name, "write a name of a-z, 0-9 and -, at most 63 characters", _slug)
PORT_NAME = Scalar("a port name", fields.PortName, "write GUEST.NIC or a UUID")
VERSION = Scalar("an image version", fields.ImageVersion, 'write e.g. version = "1"')
INTERFACE = Scalar("an interface name", fields.InterfaceName, 'write a name as the system shows it, e.g. "igb0"')
DOMAIN = Scalar("a domain name", fields.DomainName, 'write e.g. "office.internal"')
PCI = Scalar("a PCI address", fields.PciAddress, 'write it as "0000:03:00.0"', str.lower)
MAC = Scalar(
    "a MAC address", fields.Mac, 'write e.g. "02:00:5e:10:00:01"', lambda value: value.lower().replace("-", ":")
)
ADDRESS = Scalar("an address", fields.Address, 'write e.g. "10.0.0.2" or "fd00::2", without prefix length')
VLAN = Scalar("a VLAN", fields.Vlan, "write a VLAN from 1 to 4094 (0 and 4095 are reserved)")
VNI = Scalar("a VNI", fields.Vni, "write a number from 1 to 16777215")
MTU = Scalar("an MTU", fields.Mtu, "write a number from 576 to 9216; Ethernet's is 1500")
TRANSPORT_PORT = Number(1, 65_535)
URL = Pattern(
    "an HTTP URL", r"https?://[A-Za-z0-9._~:\[\]-]+(/[A-Za-z0-9._~%/+=-]*)?", 'write e.g. "https://host/dir/"'
)
IMAGE_REFERENCE = Pattern(
    "an image (NAME or NAME:VERSION)",
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(:[0-9a-z][0-9a-z.+~-]{0,62})?",
    'write e.g. "debian" or "debian:12.8"',
)
SSH_KEY = Pattern(
    "an SSH public key",
    r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r" AAAA[A-Za-z0-9+/]{16,8000}={0,3}( [^\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]{0,255})?",
    'write the line of a .pub file: "ssh-ed25519 AAAA... name"',
)
MEMORY = Size(16 << 20, 16 << 40)
DISK_SIZE = Size(1 << 20, 256 << 40)
