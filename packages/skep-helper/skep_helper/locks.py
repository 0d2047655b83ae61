"""Alone with something among all processes of the root side: flock(2) on a file that says who has it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from .handlers import Failure

_LOOK = 0.02
_MOST = 200


@contextlib.contextmanager
def alone(path: str, what: str, seconds: float) -> Iterator[None]:
    """Hold the lock of this file, made when there is none in a folder that is root's alone; waits for its turn.

    what: what is being done, for those who wait in vain. Raises Failure(busy) after `seconds`, naming who holds it. The
    lock ends with its holder, however that ends.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor, what, seconds)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{what}, process {os.getpid()}".encode()[:_MOST], 0)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process that was begun meanwhile has the descriptor too
        os.close(descriptor)


def _take(descriptor: int, what: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if time.monotonic() >= end:
            holder = os.pread(descriptor, _MOST, 0).decode(errors="replace") or "another process"
            message = f"{what} has waited {seconds:.0f} s for its turn; before it is {holder}"
            raise Failure("busy", f"{message}: see what that waits for (ps), then try again")
        time.sleep(_LOOK)
