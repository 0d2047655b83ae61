"""ReadGuests: what runs and how it ended, from the guards' state files; no process is started while guards live."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any

from ..handlers import Context, Failure
from ..policy import Policy
from ..vocabulary.guest import GuestReading, ReadGuests
from . import client, state

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


def read(context: Context, request: ReadGuests) -> tuple[GuestReading, ...]:
    """A guest whose guard was killed gets a new one, which finds out what became of it."""
    return tuple(to_reading(record) for record in readings(context.policy))


def readings(policy: Policy) -> list[dict[str, Any]]:
    """The states of all guests that were started since boot, and still have a folder or a VMM."""
    try:
        names = sorted(name for name in os.listdir(policy.run / "guests") if not name.startswith("."))
    except FileNotFoundError:
        return []
    records = (_reading(policy, name) for name in names)
    return [record for record in records if record is not None]


def _reading(policy: Policy, name: str) -> dict[str, Any] | None:
    try:
        record = client.read(policy, name)
    except Failure as failure:
        # One guest's trouble must not hide the others.
        record = state.read(state.Folder(str(policy.run), name))
        return None if record is None else {**record, "message": f"no guard: {failure.message}"}
    live = record is not None and record["state"] in state.LIVE
    if not live and not os.path.isdir(policy.pool / "guests" / name):
        folder = state.Folder(str(policy.run), name)
        if not state.guarded(folder):
            shutil.rmtree(folder.path)
        return None
    return record


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
