"""Samples in rings of a fixed size, one file for each guest: 15 s for a day, 5 min for 30 days. May be lost.

A record lies where its time says, and carries the number of its step: a record of another round counts as none. So a
ring needs no other state, a restart loses nothing, and a clock that jumps leaves a gap.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

SERIES = 6
"""Values in a record."""
_RECORD = struct.Struct(f"<II{SERIES}f")
"""Number of the step (its low 32 bits), how many samples are in it, their means."""
_ENDING = ".ring"
_HEADER = b"skep ring 1".ljust(_RECORD.size, b"\0")
_WORD = 0xFFFFFFFF
log = logging.getLogger("skepd.metrics")


class Level(NamedTuple):
    """step: seconds of a record. at: where the first one lies."""

    step: int
    records: int
    at: int

    @property
    def span(self) -> int:
        return self.step * self.records


FINE = Level(15, 86_400 // 15, len(_HEADER))
COARSE = Level(300, 30 * 86_400 // 300, FINE.at + FINE.records * _RECORD.size)
SIZE = COARSE.at + COARSE.records * _RECORD.size
Row = tuple[float, ...]
"""SERIES values; NaN for what is not known."""
NOTHING: Row = (math.nan,) * SERIES


class Shelf(Protocol):
    """Where rings are kept. Raises OSError."""

    def read(self, name: str, at: int, length: int) -> bytes:
        """Zeros for what was never written."""
        ...

    def write(self, name: str, pieces: Sequence[tuple[int, bytes]]) -> None: ...

    def remove(self, name: str) -> None: ...

    def names(self) -> list[str]: ...


class Rings:
    """Thread-safe: one writes, any number reads. A shelf that fails loses samples, and is told once."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf, self._lock, self._told = shelf, threading.Lock(), False

    def add(self, name: str, now: float, values: Sequence[float | None]) -> None:
        """A sample of this moment, into both rings of `name`."""
        row = tuple(math.nan if value is None else value for value in values)
        with self._lock, self._forgiving():
            pieces = [(_place(level, now), self._merged(name, level, now, row)) for level in (FINE, COARSE)]
            self._shelf.write(name, pieces)

    def _merged(self, name: str, level: Level, now: float, row: Row) -> bytes:
        number = _number(level, now)
        stamp, count, *means = _RECORD.unpack(self._shelf.read(name, _place(level, now), _RECORD.size))
        if stamp != number & _WORD or not count:
            return _RECORD.pack(number & _WORD, 1, *row)
        joined = (_mean(old, new, count + 1) for old, new in zip(means, row, strict=True))
        return _RECORD.pack(stamp, count + 1, *joined)

    def rows(self, name: str, level: Level, first: int, last: int) -> list[Row]:
        """The means of the steps from `first` to `last`."""
        data = b""
        with self._forgiving():
            data = self._shelf.read(name, level.at, level.records * _RECORD.size)
        found = []
        for number in range(first, last + 1):
            at = number % level.records * _RECORD.size
            stamp, count, *means = _RECORD.unpack_from(data, at) if data else (0, 0)
            found.append(tuple(means) if count and stamp == number & _WORD else NOTHING)
        return found

    def remove(self, name: str) -> None:
        with self._lock, self._forgiving():
            self._shelf.remove(name)

    def keep(self, names: set[str]) -> None:
        """Remove all others."""
        with self._lock, self._forgiving():
            for name in self._shelf.names():
                if name not in names:
                    self._shelf.remove(name)

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._told:
                log.warning("samples of what is used are lost: %s", error)
            self._told = True


class FileShelf:
    """Files in a folder, sparse until they are written, SIZE bytes at most."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str, at: int, length: int) -> bytes:
        try:
            descriptor = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return bytes(length)
        try:
            known = os.pread(descriptor, len(_HEADER), 0) == _HEADER
            return (os.pread(descriptor, length, at) if known else b"").ljust(length, b"\0")
        finally:
            os.close(descriptor)

    def write(self, name: str, pieces: Sequence[tuple[int, bytes]]) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path(name), flags, 0o600)
        try:
            if os.pread(descriptor, len(_HEADER), 0) != _HEADER:
                os.ftruncate(descriptor, 0)
                os.ftruncate(descriptor, SIZE)
                os.pwrite(descriptor, _HEADER, 0)
            for at, data in pieces:
                os.pwrite(descriptor, data, at)
        finally:
            os.close(descriptor)

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        return [name.removesuffix(_ENDING) for name in os.listdir(self._folder) if name.endswith(_ENDING)]

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_ENDING}"


class MemoryShelf:
    """Of a simulated host: only what was written takes room."""

    def __init__(self) -> None:
        self._rings: dict[str, dict[int, bytes]] = {}

    def read(self, name: str, at: int, length: int) -> bytes:
        ring, size = self._rings.get(name, {}), _RECORD.size
        return b"".join(ring.get(place, bytes(size)) for place in range(at, at + length, size))

    def write(self, name: str, pieces: Sequence[tuple[int, bytes]]) -> None:
        self._rings.setdefault(name, {}).update(pieces)

    def remove(self, name: str) -> None:
        self._rings.pop(name, None)

    def names(self) -> list[str]:
        return list(self._rings)


def _number(level: Level, now: float) -> int:
    return int(now) // level.step


def _place(level: Level, now: float) -> int:
    return level.at + _number(level, now) % level.records * _RECORD.size


def _mean(old: float, new: float, count: int) -> float:
    if math.isnan(old):
        return new
    return old if math.isnan(new) else old + (new - old) / count
