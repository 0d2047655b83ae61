"""The journal of one operation: the whole plan before its first step, then a line for each thing that happened.

A journal that is there is an operation that a crash cut off. What must be on disk before one goes on, and so is
fsynced: the whole plan before the first step, which says of the first stage that it begins; that a step begins,
before it acts; that undoing begins, before anything is undone; a confirmation, before the user is told. The other
lines need no fsync of their own:

- That a volatile step begins: a power loss that takes the line takes what it did too. But after a step that cannot be
  undone its line is fsynced, for the "done" before it: a guest that was rolled back and started must not be rolled
  back once more after it has worked.
- "done" is made durable by the next "started" of this file. Until then repeating the step does no harm, for nothing
  has come after it.
- "undone" only saves work: undoing twice does what undoing once does.
- "confirming" ends as an operation does that was cut off before it: both are undone.
- "emptying" only leaves out what would fail again.
- The removal at the end: a journal that a power loss brings back goes through its last step once more, which changes
  nothing, because nothing came after it. What does come after begins with a journal in the same folder, whose own
  fsync of the folder makes this removal durable.

A torn last line (power loss in the middle of an append) counts as not written.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skepd.files import Files, replace, temporary
from skepd.plan.steps import Step

from .encoding import decode_step, encode_step

SUFFIX = ".journal"
VERSION = 1


@dataclass(kw_only=True)
class Record:
    """What a journal says.

    done, undone, started, skipped: step numbers. phase: doing, confirming, confirmed, emptying (only trash is left to
    be emptied) or undoing. created: seconds since the epoch. site: text of the site file that is the host's once all
    steps are done, "" for none.
    """

    id: str
    title: str
    manager: str
    created: float
    boot_id: str
    steps: tuple[Step, ...]
    confirm: bool = False
    done: set[int] = field(default_factory=set)
    undone: set[int] = field(default_factory=set)
    started: set[int] = field(default_factory=set)
    skipped: set[int] = field(default_factory=set)
    phase: str = "doing"
    error: str = ""
    site: str = ""


class Journal:
    """Writes the journal of a running operation. Thread-safe. Raises OSError."""

    def __init__(self, files: Files, folder: Path, record: Record) -> None:
        self._files, self._path = files, folder / f"{record.id}{SUFFIX}"
        self._lock, self._torn = threading.Lock(), False
        self._announced: set[int] = set()
        self._repeatable = True
        self.record = record

    def begin(self) -> None:
        """Write all that the record says; of a recovered one that is more than its steps, and a torn line goes."""
        record = self.record
        self._announced = self._first_stage() if record.phase == "doing" else set()
        head = {
            "version": VERSION,
            "id": record.id,
            "title": record.title,
            "manager": record.manager,
            "created": record.created,
            "boot_id": record.boot_id,
            "confirm": record.confirm,
            "phase": record.phase,
            "error": record.error,
            "site": record.site,
            **{name: sorted(getattr(record, name)) for name in _SETS},
            "started": sorted(record.started | self._announced),
            "steps": [encode_step(step) for step in record.steps],
        }
        replace(self._files, self._path, json.dumps(head).encode() + b"\n")

    def started(self, number: int) -> None:
        self.record.started.add(number)
        if number not in self._announced:
            self._line({"started": number}, durable=not (self.record.steps[number].volatile and self._repeatable))

    def done(self, number: int) -> None:
        self.record.done.add(number)
        self._line({"done": number}, repeatable=self.record.steps[number].undo is not None)

    def undone(self, number: int) -> None:
        self.record.undone.add(number)
        self._line({"undone": number})

    def nothing_done(self, number: int) -> None:
        """There is nothing of this step to undo. The line that undoing begins says so too."""
        self.record.undone.add(number)

    def phase(self, phase: str, error: str = "") -> None:
        self.record.phase, self.record.error = phase, error
        data: dict[str, Any] = {"phase": phase, "error": error}
        if self.record.undone:
            data["nothing_done"] = sorted(self.record.undone)
        self._line(data, durable=phase in ("undoing", "confirmed"))

    def end(self) -> None:
        """The operation ended one way or the other: nothing is left to recover."""
        with suppress(FileNotFoundError):
            self._files.remove(self._path)

    def _line(self, data: dict[str, Any], durable: bool = False, repeatable: bool = True) -> None:
        line = json.dumps(data).encode() + b"\n"
        with self._lock:
            # A line that failed half-way (the disk was full) must not spoil this one.
            self._torn, line = True, (b"\n" + line if self._torn else line)
            self._files.append(self._path, line)
            self._repeatable = self._repeatable and repeatable
            if durable:
                self._files.fsync(self._path)
                self._repeatable = True
            self._torn = False

    def _first_stage(self) -> set[int]:
        """Of the steps that are still to be done."""
        record = self.record
        waiting = [number for number in range(len(record.steps)) if number not in record.done | record.skipped]
        return {number for number in waiting if record.steps[number].stage == record.steps[waiting[0]].stage}


class Unwritten(Journal):
    """The journal of a repair: none. After a crash it is planned anew from what is, with nothing to undo."""

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def _line(self, data: dict[str, Any], durable: bool = False, repeatable: bool = True) -> None: ...


def unfinished(files: Files, folder: Path) -> tuple[list[Record], dict[str, str]]:
    """The operations that a crash cut off, oldest first, and the journals that nobody can read: {name: reason}."""
    records, broken = [], {}
    for name in files.names(folder):
        if temporary(name):
            files.remove(folder / name)
        elif name.endswith(SUFFIX):
            try:
                records.append(_read(files.read(folder / name)))
            except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                broken[name] = f"{type(error).__name__}: {error}"
    return sorted(records, key=lambda record: (record.created, record.id)), broken


_SETS = ("done", "undone", "started", "skipped")


def _read(data: bytes) -> Record:
    lines = data.split(b"\n")[:-1]
    head = json.loads(lines[0])
    version = head.pop("version")
    if version != VERSION:
        raise ValueError(f"it is of version {version}, and this skepd reads version {VERSION}")
    steps = tuple(decode_step(step) for step in head["steps"])
    record = Record(**{**head, "steps": steps, **{name: set(head[name]) for name in _SETS}})
    for line in lines[1:]:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        _note(record, found)
    return record


def _note(record: Record, data: dict[str, Any]) -> None:
    for key in _SETS:
        if key in data:
            getattr(record, key).add(data[key])
    if "phase" in data:
        record.phase, record.error = data["phase"], data["error"]
        record.undone |= set(data.get("nothing_done", ()))
