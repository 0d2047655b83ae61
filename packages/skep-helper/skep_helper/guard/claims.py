"""Numbers of which every guest has one to itself: uids, devfs rule sets.

A claim is a symbolic link RUN/guests/.KIND/NUMBER -> GUEST, made atomically in a folder that is root's alone, and never
followed. It stands as long as its guest is defined or runs; those of others are dropped when no number is free. (A boot
empties Linux's /run; FreeBSD's rc.d/cleanvar leaves symbolic links in /var/run, and the guests keep their numbers.)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator

from ..policy import Policy
from . import state


def claim(policy: Policy, kind: str, guest: str, candidates: Callable[[], Iterable[int]]) -> int | None:
    """The first of the candidates that is the guest's or becomes it; None when all are others'."""
    folder = f"{policy.run}/guests/.{kind}"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for sweep in (False, True):
        if sweep:
            _sweep(policy, folder)
        for number in candidates():
            if _take(f"{folder}/{number}", guest):
                return number
    return None


def spread(guest: str, first: int, count: int) -> Iterator[int]:
    """All numbers from `first` on, beginning at a place of the guest's own, so that guests seldom meet."""
    start = int.from_bytes(hashlib.sha256(guest.encode()).digest()[:4], "big")
    return (first + (start + step) % count for step in range(count))


def _take(path: str, guest: str) -> bool:
    try:
        os.symlink(guest, path)
    except FileExistsError:
        return os.readlink(path) == guest
    return True


def _sweep(policy: Policy, folder: str) -> None:
    """Drop the claims of guests that are neither defined nor running."""
    for name in os.listdir(folder):
        guest = os.readlink(f"{folder}/{name}")
        record = state.read(state.Folder(str(policy.run), guest))
        if not os.path.isdir(policy.pool / "guests" / guest) and (not record or record["state"] not in state.LIVE):
            os.unlink(f"{folder}/{name}")
