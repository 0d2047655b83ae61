"""What both platforms read of usage alike: the kernel's clock, and the counters of OpenZFS for each dataset."""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .guard import readings, state
from .policy import Policy
from .vocabulary.usage import ClockReading

_TIMEX = struct.Struct("=I4xqqqqi4x")
"""struct timex begins alike on every 64-bit Linux and FreeBSD: modes, offset, freq, maxerror, esterror, status."""
_TIMEX_SIZE = 512
_PLL, _UNSYNCHRONISED, _NANOSECONDS = 0x1, 0x40, 0x2000
_ERROR = 5
_UNKNOWN_ERROR = 16_000_000
"""Microseconds; what kernels say of an error of which nobody told them."""


class Moved(NamedTuple):
    """Bytes read from and written to storage."""

    read: int = 0
    written: int = 0


def clock(call: str) -> ClockReading:
    """What the kernel says of its clock. call: of libc, adjtimex(2) or ntp_adjtime(2); changes nothing."""
    buffer = ctypes.create_string_buffer(_TIMEX_SIZE)
    result = getattr(ctypes.CDLL(None, use_errno=True), call)(buffer)
    return parse_clock(buffer.raw, result)


def parse_clock(data: bytes, result: int) -> ClockReading:
    """clock() from a struct timex and what the call returned."""
    if result < 0:
        return ClockReading()
    _, offset, _, _, error, status = _TIMEX.unpack_from(data)
    if status & _UNSYNCHRONISED or result == _ERROR:
        return ClockReading(synchronised="no")
    return ClockReading(
        synchronised="yes",
        offset=(offset // 1000 if status & _NANOSECONDS else offset) if status & _PLL else None,
        error=error if 0 < error < _UNKNOWN_ERROR else None,
    )


def running(policy: Policy) -> Iterator[tuple[str, int]]:
    """Guests with a VMM, and its pid, from the guards' state files."""
    for name in readings.names(policy):
        record: dict[str, Any] | None = state.read(state.Folder(str(policy.run), name))
        if record is not None and record["state"] in state.LIVE and record["pid"]:
            yield name, int(record["pid"])


def by_guest(guests: str, moved: Iterable[tuple[str, Moved]]) -> dict[str, Moved]:
    """What the datasets below `guests` (GUESTS/GUEST/DISK) moved, summed up for each guest."""
    found: dict[str, Moved] = {}
    for dataset, one in moved:
        guest, _, disk = dataset.removeprefix(f"{guests}/").partition("/")
        if dataset.startswith(f"{guests}/") and disk:
            before = found.get(guest, Moved())
            found[guest] = Moved(before.read + one.read, before.written + one.written)
    return found


def parse_dataset_kstat(text: str) -> tuple[str, Moved] | None:
    """From /proc/spl/kstat/zfs/POOL/objset-*: a line each of name, type and value."""
    values = dict(re.findall(r"^(\w+)\s+\d+\s+(.+)$", text, re.MULTILINE))
    if "dataset_name" not in values:
        return None
    return values["dataset_name"].strip(), Moved(_number(values.get("nread")), _number(values.get("nwritten")))


def parse_dataset_sysctls(values: dict[str, str]) -> Iterator[tuple[str, Moved]]:
    """From sysctls kstat.zfs.POOL.dataset.objset-*.NAME."""
    for name, dataset in values.items():
        stem, _, leaf = name.rpartition(".")
        if leaf == "dataset_name":
            moved = Moved(_number(values.get(f"{stem}.nread")), _number(values.get(f"{stem}.nwritten")))
            yield dataset, moved


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.strip().isdecimal() else 0
