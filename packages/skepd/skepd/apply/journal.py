"""The journal of one operation: the whole plan before its first step, then a line for each thing that happened.

A journal without an end line is an operation that a crash cut off. Lines are fsynced before what they announce is
relied upon; a torn last line (power loss in the middle of an append) counts as not written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skepd.files import Files, discard, replace
from skepd.plan.steps import Step

from .encoding import decode_step, encode_step

SUFFIX = ".journal"


@dataclass(kw_only=True)
class Record:
    """What a journal says. done and undone: step numbers; phase: doing, undoing or confirming."""

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
    phase: str = "doing"
    error: str = ""
    confirm_before: float = 0.0


class Journal:
    """Writes the journal of a running operation."""

    def __init__(self, files: Files, folder: Path, record: Record) -> None:
        self._files, self._path = files, folder / f"{record.id}{SUFFIX}"
        self.record = record

    def begin(self) -> None:
        record = self.record
        head = {
            "id": record.id,
            "title": record.title,
            "manager": record.manager,
            "created": record.created,
            "boot_id": record.boot_id,
            "confirm": record.confirm,
            "steps": [encode_step(step) for step in record.steps],
        }
        replace(self._files, self._path, json.dumps(head).encode() + b"\n")

    def started(self, number: int) -> None:
        """A step begins. Only what may be half done is undone, so this is on disk before the step."""
        self.record.started.add(number)
        self._line({"started": number})

    def done(self, number: int) -> None:
        self.record.done.add(number)
        self._line({"done": number})

    def undone(self, number: int) -> None:
        self.record.undone.add(number)
        self._line({"undone": number})

    def phase(self, phase: str, error: str = "", confirm_before: float = 0.0) -> None:
        self.record.phase, self.record.error, self.record.confirm_before = phase, error, confirm_before
        self._line({"phase": phase, "error": error, "confirm_before": confirm_before})

    def end(self) -> None:
        """The operation ended one way or the other: nothing is left to recover."""
        discard(self._files, self._path)

    def _line(self, data: dict[str, Any]) -> None:
        self._files.append(self._path, json.dumps(data).encode() + b"\n")
        self._files.fsync(self._path)


def unfinished(files: Files, folder: Path) -> list[Record]:
    """The operations that a crash cut off, oldest first. Raises ValueError for a journal nobody understands."""
    records = [
        _read(files.read(folder / name), name)
        for name in files.names(folder)
        if name.endswith(SUFFIX) and not name.startswith(".")
    ]
    return sorted(records, key=lambda record: (record.created, record.id))


def _read(data: bytes, name: str) -> Record:
    lines = data.split(b"\n")[:-1]
    try:
        head = json.loads(lines[0])
        record = Record(**{**head, "steps": tuple(decode_step(step) for step in head["steps"])})
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"journal {name} is damaged ({error}); move it away after looking at the host") from error
    for line in lines[1:]:
        try:
            _note(record, json.loads(line))
        except ValueError:
            break
    return record


def _note(record: Record, data: dict[str, Any]) -> None:
    for key in ("started", "done", "undone"):
        if key in data:
            getattr(record, key).add(data[key])
    if "phase" in data:
        record.phase, record.error, record.confirm_before = data["phase"], data["error"], data["confirm_before"]
