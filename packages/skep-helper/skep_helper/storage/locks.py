"""Locks by flock: they end with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..handlers import Failure

_PATIENCE = 30.0
_PAUSE = 0.05

Progress = Callable[[int, int], None]


def no_progress(done: int, total: int) -> None:
    """Nobody waits."""


@contextmanager
def locked(descriptor: int, busy: str, *, shared: bool = False, progress: Progress | None = None) -> Iterator[None]:
    """Hold a lock on an open file or folder; raises Failure("busy") with this sentence.

    progress: given by long handlers, which have a process of their own and therefore wait up to 30 s; it is called
    while waiting, so that they can be cancelled. Without it the answer comes at once.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    end = time.monotonic() + (_PATIENCE if progress else 0.0)
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= end:
                raise Failure("busy", busy) from None
        (progress or no_progress)(0, 0)
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
