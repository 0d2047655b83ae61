"""Copies of whole files that keep their holes: shared blocks where the file system can, copied ones elsewhere."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator

_FICLONE = 0x40049409
_CHUNK = 16 << 20
_BUFFER = 1 << 20


def copy_sparse(source: int, target: int, progress: Callable[[int, int], None]) -> None:
    """Copy an open file into an empty one; raises OSError. progress is called for every 16 MiB, in bytes."""
    size = os.fstat(source).st_size
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL):
            raise
        for start, end in _extents(source, size):
            _copy(source, target, start, end, lambda done: progress(done, size))
        os.ftruncate(target, size)
    progress(size, size)


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where data lies, as (start, end)."""
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        at = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, at


def _copy(source: int, target: int, start: int, end: int, progress: Callable[[int], None]) -> None:
    while start < end:
        count = _copy_some(source, target, start, min(_CHUNK, end - start))
        if count == 0:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
        start += count
        progress(start)


def _copy_some(source: int, target: int, start: int, most: int) -> int:
    """Some bytes, by the kernel where Python knows how."""
    if hasattr(os, "copy_file_range"):
        return os.copy_file_range(source, target, most, start, start)
    return os.pwrite(target, os.pread(source, min(most, _BUFFER), start), start)
