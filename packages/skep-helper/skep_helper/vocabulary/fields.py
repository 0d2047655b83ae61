"""Field types of the vocabulary, each with its check.

A field is annotated ``Annotated[str, check]``; ``check_fields`` runs every check when a request is built, on both
sides of the socket. Checks raise ``Rejected``; they never correct a value.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

MIB = 1 << 20
TIB = 1 << 40


class Rejected(ValueError):
    """A value that the vocabulary or the policy does not accept. The text names the field and what it must be."""


def _pattern(expression: str, meaning: str) -> Callable[[str], None]:
    compiled = re.compile(expression)

    def check(value: str) -> None:
        if not compiled.fullmatch(value):
            raise Rejected(f"{value!r:.80} is not {meaning}")

    return check


def _range(low: int, high: int) -> Callable[[int], None]:
    def check(value: int) -> None:
        if not low <= value <= high:
            raise Rejected(f"{value} is not between {low} and {high}")

    return check


def _power_of_two(low: int, high: int) -> Callable[[int], None]:
    def check(value: int) -> None:
        if not low <= value <= high or value & (value - 1):
            raise Rejected(f"{value} is not a power of two between {low} and {high}")

    return check


def _one_of(*words: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        if value not in words:
            raise Rejected(f"{value!r:.80} is not one of {', '.join(words)}")

    return check


def _parses(parse: Callable[[str], object], meaning: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        if len(value) > 64 or "%" in value:
            raise Rejected(f"{value!r:.80} is not {meaning}")
        try:
            parse(value)
        except ValueError as error:
            raise Rejected(f"{value!r:.80} is not {meaning}") from error

    return check


def _length(high: int) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if len(value) > high:
            raise Rejected(f"{len(value)} bytes or entries, the most is {high}")

    return check


def _unicast_mac(value: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", value) or int(value[:2], 16) & 1:
        raise Rejected(f"{value!r:.80} is not a unicast MAC address in lower case")


# A DNS label, because guests, networks and hosts are names in DNS too.
Name = Annotated[str, _pattern(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "a name (a-z, 0-9, '-', at most 63)")]
# GUEST.NIC for ports of site.toml and the CLI, a UUID for OpenStack's.
PortName = Annotated[
    str, _pattern(r"[a-z0-9][a-z0-9-]{0,62}(\.[a-z0-9][a-z0-9-]{0,30})?", "a port name (GUEST.NIC or a UUID)")
]
ImageVersion = Annotated[str, _pattern(r"[0-9a-z][0-9a-z.+~-]{0,62}", "an image version")]
InterfaceName = Annotated[str, _pattern(r"[a-zA-Z][a-zA-Z0-9._-]{0,14}", "an interface name")]
DomainName = Annotated[str, _pattern(r"([a-z0-9-]{1,63}\.)*[a-z0-9-]{1,63}", "a domain name")]
Digest = Annotated[str, _pattern(r"[0-9a-f]{16,64}", "a digest in hexadecimal")]
PciAddress = Annotated[str, _pattern(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", "a PCI address")]
DatasetName = Annotated[
    str, _pattern(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}){1,9}", "a dataset of a pool")
]
Mac = Annotated[str, _unicast_mac]
Address = Annotated[str, _parses(ipaddress.ip_address, "an IPv4 or IPv6 address")]
Prefix = Annotated[str, _parses(ipaddress.ip_network, "an IPv4 or IPv6 prefix")]
InterfaceAddress = Annotated[str, _parses(ipaddress.ip_interface, "an address with prefix length")]
Vlan = Annotated[int, _range(1, 4094)]
Vni = Annotated[int, _range(1, (1 << 24) - 1)]
Mtu = Annotated[int, _range(576, 9216)]
TransportPort = Annotated[int, _range(0, 65535)]
Memory = Annotated[int, _range(16 * MIB, 16 * TIB)]
DiskSize = Annotated[int, _range(MIB, 256 * TIB)]
BlockSize = Annotated[int, _power_of_two(4096, 128 << 10)]
# Of an image as it is written: a small qcow2 or ISO file has less than a MiB.
FileSize = Annotated[int, _range(1, 256 * TIB)]
Count = Annotated[int, _range(0, 1024)]
Seconds = Annotated[int, _range(0, 86_400)]
Amount = Annotated[int, _range(0, 1 << 62)]
# Of the life of flash, which may be exceeded; -1 when it is not told.
Percent = Annotated[int, _range(-1, 255)]
Celsius = Annotated[int, _range(-100, 1000)]
# As systems name what they have: ada0, nvme0n1, igb0.
SystemName = Annotated[str, _pattern(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}", "a name that the system gives")]
SerialText = Annotated[str, _pattern(r"[A-Za-z0-9._-]{0,20}", "a disk serial (at most 20 of A-Z a-z 0-9 . _ -)")]
Text = Annotated[str, _length(64 * 1024)]
ShortText = Annotated[str, _pattern(r"[^\x00-\x1f\x7f]{0,256}", "one line of at most 256 characters")]
SeedText = Annotated[str, _length(MIB)]


def word(*words: str) -> Any:
    """An annotated string type of exactly these words."""
    return Annotated[str, _one_of(*words)]


@cache
def field_types(owner: Any) -> dict[str, Any]:
    """The resolved type hints of a dataclass, with their Annotated checks."""
    return typing.get_type_hints(owner, include_extras=True)


def check_fields(value: Any) -> None:
    """Run the check of every field of a dataclass instance; raises Rejected naming the field.

    Only values are checked here; JSON types are the codec's business.
    """
    owner: Any = type(value)
    for name, hint in field_types(owner).items():
        _check(hint, getattr(value, name), f"{owner.__name__}.{name}")


def _check(hint: Any, value: Any, where: str) -> None:
    origin = typing.get_origin(hint)
    if origin is Annotated:
        base, *checks = typing.get_args(hint)
        if not isinstance(value, base) or (base is int and isinstance(value, bool)):
            raise Rejected(f"{where}: {value!r:.80} is not {base.__name__}")
        for check in checks:
            try:
                check(value)
            except Rejected as error:
                raise Rejected(f"{where}: {error}") from None
    elif origin is tuple:
        for item in value:
            _check(typing.get_args(hint)[0], item, where)
    elif value is not None and type(None) in typing.get_args(hint):
        inner = next(arg for arg in typing.get_args(hint) if arg is not type(None))
        _check(inner, value, where)


class Checked:
    """Base of every dataclass of the vocabulary: checks its fields when it is built."""

    __slots__ = ()

    def __post_init__(self) -> None:
        check_fields(self)


def is_message(cls: Any) -> bool:
    """Whether a class is a dataclass of the vocabulary."""
    return dataclasses.is_dataclass(cls) and issubclass(cls, Checked)  # type: ignore[arg-type]
