"""ReadGuests: what runs and how it ended, from the guards' state files; no process is started while guards live, and
no guard is waited for longer than PATIENCE: readings are what the helper does between other requests."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any

from ..handlers import Context
from ..policy import Policy
from ..vocabulary.guest import GuestReading, ReadGuests
from . import client, state

PATIENCE = 1.0
"""Seconds for all new guards together to say what became of their guests; who is late is told in the next reading."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


def read(context: Context, request: ReadGuests) -> tuple[GuestReading, ...]:
    """A guest whose guard was killed gets a new one, which finds out what became of it."""
    return tuple(to_reading(record) for record in readings(context.policy))


def readings(policy: Policy) -> list[dict[str, Any]]:
    """The states of all guests that were started since boot, and still have a folder or a VMM."""
    folders = {name: state.Folder(str(policy.run), name) for name in names(policy)}
    records = {name: state.read(folder) for name, folder in folders.items()}
    orphans = [name for name, record in records.items() if _live(record) and not state.guarded(folders[name])]
    failures = client.adopt_all(policy, orphans, PATIENCE)
    for name in orphans:
        records[name] = state.read(folders[name])
    found = []
    for name, record in records.items():
        if not _live(record) and not os.path.isdir(policy.pool / "guests" / name):
            _forget(folders[name])
        elif record is not None:
            # One guest's trouble must not hide the others.
            found.append({**record, "message": f"no guard: {failures[name]}"} if name in failures else record)
    return found


def names(policy: Policy) -> list[str]:
    """Guests that have a runtime folder."""
    try:
        return sorted(name for name in os.listdir(policy.run / "guests") if not name.startswith("."))
    except FileNotFoundError:
        return []


def _live(record: dict[str, Any] | None) -> bool:
    return record is not None and record["state"] in state.LIVE


def _forget(folder: state.Folder) -> None:
    """Of a guest that is gone."""
    if not state.guarded(folder):
        shutil.rmtree(folder.path)


def to_reading(record: dict[str, Any]) -> GuestReading:
    live = record["state"] in state.LIVE
    return GuestReading(
        name=record["guest"],
        state=record["state"],
        digest=record["digest"] if live else "",
        pid=record["pid"],
        started=record["started"],
        ending=record["ending"],
        ended=record["ended"],
        reboots=record["reboots"],
        media_detached=record["media_detached"],
        accelerator=record["accelerator"],
        message=_UNPRINTABLE.sub(" ", record["message"])[:256],
    )
