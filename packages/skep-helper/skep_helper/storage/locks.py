"""Locks by flock: they end with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from ..handlers import Failure
from ..paths import Folder

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


@contextmanager
def held(folder: Folder, name: str, busy: str, progress: Progress) -> Iterator[None]:
    """The lock of something in a folder that has no file of its own to lock: `.NAME.lock`, there while it is held."""
    file = f".{name}.lock"
    while True:
        with ExitStack() as stack:
            descriptor = folder.open(file, os.O_RDWR | os.O_CREAT)
            stack.callback(os.close, descriptor)
            stack.enter_context(locked(descriptor, busy, progress=progress))
            # Whoever held it before us removed the file: then ours is not the lock that others see.
            named = folder.status(file)
            if not named or named.st_ino != os.fstat(descriptor).st_ino:
                continue
            stack.callback(folder.remove, file, durable=False)
            yield
            return
