"""A snapshot beside what there is now, as plain JSON: what was written since, and what a rollback would lose. Pure."""

from __future__ import annotations

import difflib
from typing import Any

from skep_helper.vocabulary import ChangesReading
from skep_helper.vocabulary.storage import SnapshotReading


def comparison(taken: SnapshotReading, reading: ChangesReading, before: str | None, now: str) -> dict[str, Any]:
    """before: the definition when the snapshot was taken; None: it was not kept."""
    return {
        "since": taken.created,
        "disks": {disk.disk: {"written": disk.written, "grown": disk.grown} for disk in reading.disks},
        "newer": list(reading.newer),
        "definition": None if before is None else _lines(before, now),
    }


def _lines(before: str, now: str) -> list[str]:
    """Those that differ, with a few around them: "- " was, "+ " is, "  " is the same."""
    found = difflib.unified_diff(before.splitlines(), now.splitlines(), lineterm="", n=2)
    return [line for line in found if not line.startswith(("---", "+++"))]
