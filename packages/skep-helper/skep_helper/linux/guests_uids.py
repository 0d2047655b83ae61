"""Every guest runs as a user of its own. A claim is a symbolic link RUN/guests/.uids/UID -> GUEST, made atomically
in a folder that is root's alone and never followed; it stands until the next boot, so no two guests share a uid."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from ..guard import state
from ..handlers import Failure
from ..policy import Policy


def claim(policy: Policy, guest: str, wanted: int = 0) -> int:
    """A uid for the guest: the one it has, else the wanted one, else a free one. Raises Failure(full)."""
    folder = f"{policy.run}/guests/.uids"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for attempt in range(2):
        for uid in _candidates(policy, guest, wanted):
            if _take(f"{folder}/{uid}", guest):
                return uid
        if attempt == 0:
            _sweep(policy, folder)
    raise Failure("full", f"guest {guest}: all uids of guest_uids in the policy are in use; widen the range")


def _candidates(policy: Policy, guest: str, wanted: int) -> Iterator[int]:
    """The last uid of the range is that of qemu-img (linux.storage.tool)."""
    first, last = policy.guest_uids
    count = last - first
    if first <= wanted < last:
        yield wanted
    start = int.from_bytes(hashlib.sha256(guest.encode()).digest()[:4], "big") % max(count, 1)
    for step in range(count):
        yield first + (start + step) % count


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
