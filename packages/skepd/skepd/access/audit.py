"""Who did what: one JSON line for each call that changes something, in files that are only ever appended to.

No body, no query and no header gets here, so no secret does.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
from skep.wire import AuditRecord

FULL = 8 << 20
"""Bytes of a file after which the next one is begun."""
KEEP = 16
STRANGERS = 120
"""Records a minute of callers that are nobody: a flood of them must not push out what users did."""
_BLOCK = 65_536
log = logging.getLogger("skepd.access")


class Audit:
    """Thread-safe. folder None: nothing is kept. Numbers rise by one and survive restarts."""

    def __init__(self, folder: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock
        self._lock = threading.Lock()
        self._minute, self._strangers = 0, 0
        self._number = 0
        if folder is not None:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._number = next((record.number for record in self._backwards()), 0)
            self._end_torn_line()

    def write(self, *, who: str, proven: bool, via: str, peer: str, action: str, ref: str, outcome: str) -> None:
        """Append a record. proven: whether it was `who`; else somebody said so, and is a stranger.

        An error is logged and goes no further: a full disk must not keep who frees it.
        """
        if self._folder is None:
            return
        now = self._clock()
        with self._lock:
            if not proven and not self._room_for_strangers(now):
                return
            self._number += 1
            record = AuditRecord(
                number=self._number,
                time=now,
                who=who,
                via=via,
                peer=peer,
                action=action,
                ref=ref[:300],
                outcome=outcome,
            )
            try:
                self._append(msgspec.json.encode(record) + b"\n")
            except OSError as error:
                log.error("the audit log cannot be written (%s): %s of %s is not in it", error, action, who or "nobody")

    def read(self, before: int, limit: int) -> list[AuditRecord]:
        """At most `limit` records with a lower number (0: any), newest first."""
        found: list[AuditRecord] = []
        if self._folder is None:
            return found
        for record in self._backwards():
            if before and record.number >= before:
                continue
            found.append(record)
            if len(found) == limit:
                break
        return found

    def _room_for_strangers(self, now: float) -> bool:
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self._strangers = minute, 0
        self._strangers += 1
        if self._strangers == STRANGERS + 1:
            log.warning("more than %d refused calls a minute: the rest of them is not in the audit log", STRANGERS)
        return self._strangers <= STRANGERS

    def _append(self, line: bytes) -> None:
        path = self._path(0)
        with suppress(FileNotFoundError):
            if path.stat().st_size + len(line) > FULL:
                self._turn()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError("the disk is full")
        finally:
            os.close(descriptor)

    def _turn(self) -> None:
        for number in range(KEEP - 1, 0, -1):
            with suppress(FileNotFoundError):
                self._path(number - 1).rename(self._path(number))

    def _end_torn_line(self) -> None:
        """What a power loss or a full disk left without its end must not swallow the next record."""
        path = self._path(0)
        with suppress(FileNotFoundError), open(path, "r+b") as stream:
            if stream.seek(0, os.SEEK_END) and stream.seek(-1, os.SEEK_END) is not None and stream.read(1) != b"\n":
                stream.write(b"\n")

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / ("audit.jsonl" if number == 0 else f"audit.{number}.jsonl")

    def _backwards(self) -> Iterator[AuditRecord]:
        decoder = msgspec.json.Decoder(AuditRecord)
        newest: int | None = None
        for number in range(KEEP):
            try:
                descriptor = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return
            with os.fdopen(descriptor, "rb"):
                for line in _lines_backwards(descriptor):
                    with suppress(msgspec.DecodeError):
                        record = decoder.decode(line)
                        if newest is None or record.number < newest:  # the files may have turned meanwhile
                            newest = record.number
                            yield record


def _lines_backwards(descriptor: int) -> Iterator[bytes]:
    position, rest = os.fstat(descriptor).st_size, b""
    while position > 0:
        start = max(0, position - _BLOCK)
        rest = os.pread(descriptor, position - start, start) + rest
        position = start
        first, *lines = rest.split(b"\n")
        yield from (line for line in reversed(lines) if line)
        rest = first
    if rest:
        yield rest
