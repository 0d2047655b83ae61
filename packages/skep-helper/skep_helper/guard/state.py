"""What a guard leaves in the runtime folder of its guest: the state file, a lock, the names of its sockets.

`RUN/guests/GUEST/` is root's alone (0700). The state file is written by the guard only, at every change, so that
readers need no round trip; whether the guard lives is told by its lock.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from typing import Any

LIVE = ("running", "paused", "stopping")
"""States in which there is a VMM."""


class Folder:
    """The runtime folder of a guest."""

    def __init__(self, run: str, guest: str) -> None:
        self.guest = guest
        self.path = f"{run}/guests/{guest}"
        self.socket = f"{self.path}/guard.sock"
        self.state = f"{self.path}/state.json"
        self.lock = f"{self.path}/guard.lock"
        self.reservation = f"{self.path}/reservation.json"
        self.log = f"{self.path}/guard.log"
        self.qmp = f"{self.path}/qmp.sock"
        self.agent = f"{self.path}/agent.sock"
        self.errors = f"{self.path}/errors"
        self.serial = f"{self.path}/serial"
        """A folder of its own, because the VMM's user may search it: two pipes, line.in and line.out."""
        self.typed = f"{self.serial}/line.in"
        self.output = f"{self.serial}/line.out"

    def make(self) -> None:
        """Make the folder; repeatable."""
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        for path, mode in ((self.path, 0o700), (self.serial, 0o711)):
            if not os.path.isdir(path):
                os.mkdir(path, mode)
                os.chmod(path, mode)

    def sweep(self) -> None:
        """Remove what only a running VMM needs: sockets, pipes, what is reserved for it; the state stays."""
        for path in (self.socket, self.qmp, self.agent, self.errors, self.typed, self.output, self.reservation):
            remove(path)


def remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def read(folder: Folder) -> dict[str, Any] | None:
    """The last state written; None when there is none. A file that cannot be parsed counts as none."""
    return _read(folder.state)


def write(folder: Folder, state: dict[str, Any]) -> None:
    """Replace the state file. Not synced: it must outlive processes, not the boot."""
    _write(folder.state, state)


def reserve(folder: Folder, memory: int, devices: Sequence[str]) -> None:
    """Write down what a guest gets that is being started. It counts as long as the guard's lock is held, which the
    caller has, so that nothing need be taken back when the start comes to nothing."""
    _write(folder.reservation, {"memory": memory, "passthrough": list(devices)})


def reserved(folder: Folder) -> dict[str, Any] | None:
    """What counts of `reserve`: "memory" in bytes, "passthrough" (PCI addresses)."""
    reservation = _read(folder.reservation)
    return reservation if reservation is not None and guarded(folder) else None


def _read(path: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as stream:
            state = json.load(stream)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def _write(path: str, state: dict[str, Any]) -> None:
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump(state, stream)
    os.rename(temporary, path)


def acquire(folder: Folder) -> int | None:
    """Take the guard's lock; None when a guard holds it. The lock goes with the descriptor."""
    descriptor = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def guarded(folder: Folder) -> bool:
    """Whether a guard holds the lock."""
    try:
        descriptor = os.open(folder.lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_durably(path: str, value: Any) -> None:
    """Replace a JSON file beside the guest's disks; after a power loss the old or the new one is there."""
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(temporary, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
