"""devfs(8) rule sets, numbered for all of the host: each guest has one. A claim is a symbolic link
RUN/guests/.rulesets/NUMBER -> GUEST, made atomically in a folder that is root's alone; it stands until the next boot.
"""

from __future__ import annotations

import hashlib
import os

from ..guard import state
from ..handlers import Failure
from ..policy import Policy

FIRST, COUNT = 20_000, 10_000
"""Far from what administrators and the system use; the last one possible is 65535."""


def claim(policy: Policy, guest: str) -> int:
    """The guest's number. Raises Failure(full)."""
    folder = f"{policy.run}/guests/.rulesets"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    start = int.from_bytes(hashlib.sha256(guest.encode()).digest()[:4], "big")
    for attempt in range(2):
        for step in range(COUNT):
            number = FIRST + (start + step) % COUNT
            if _take(f"{folder}/{number}", guest):
                return number
        if attempt == 0:
            _sweep(policy, folder)
    raise Failure("full", f"guest {guest}: all {COUNT} devfs rule sets of Skep are in use")


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
