"""Where the verified chunks of an image go: at their place in a file, or in order into a stream (zfs receive).

Workers call `store`, with chunks that were verified and in any order; one thread calls `follow` for 0, 1, 2, ...
which answers with the bytes for the digest of the whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import select
import stat
import threading
from collections.abc import Callable
from typing import Protocol

from skep.images.manifest import CHUNK, Manifest

_TICK_MS = 200
_ZEROS = hashlib.sha256(bytes(CHUNK)).hexdigest()


class Closed(Exception):
    """The pull has ended; nothing is written any more."""


class Sink(Protocol):
    window: int | None
    """How many chunks beyond the one that `follow` waits for may be stored; None: any number."""
    useful: bool
    """Whether anything is stored that a later pull can go on from."""

    def scan(self, seen: Callable[[int], None]) -> set[int]:
        """The chunks that are there and right already; calls `seen` with each as it is found."""
        ...

    def store(self, index: int, data: bytes | memoryview) -> None: ...

    def follow(self, index: int) -> bytes | memoryview: ...

    def finish(self) -> None:
        """Everything was stored and followed: make it durable, as far as the descriptor lets one."""
        ...

    def close(self) -> None:
        """Nothing is written after this returns. The descriptor stays the caller's."""
        ...


class FileSink:
    """A file or volume that can be read back, which is how an interrupted pull goes on.

    No record is kept of which chunks are right: after a power loss it could say more than the disk holds, so the
    bytes would have to be digested again anyway. What was never written costs nothing, because holes are skipped.
    """

    window: int | None = None

    def __init__(self, descriptor: int, manifest: Manifest) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size != manifest.size:
            os.ftruncate(descriptor, manifest.size)
        self._descriptor = descriptor
        self._manifest = manifest
        self._buffer = memoryview(bytearray(min(CHUNK, manifest.size)))
        self._idle = threading.Condition()
        self._writers = 0
        self._closed = False
        self.useful = False

    def scan(self, seen: Callable[[int], None]) -> set[int]:
        found: set[int] = set()
        written = self._next_data(0)
        self.useful = written < len(self._manifest.chunks)
        for index, digest in enumerate(self._manifest.chunks):
            if index > written:
                written = self._next_data(index)
            # A hole is zeros: chunks of zeros need neither be fetched nor take space.
            right = digest == _ZEROS
            if index >= written:
                right = hashlib.sha256(self.follow(index)).hexdigest() == digest
            if right:
                found.add(index)
                seen(index)
        return found

    def _next_data(self, index: int) -> int:
        """The first chunk, not before this one, that something was written into (where one can know)."""
        try:
            return os.lseek(self._descriptor, min(index * CHUNK, self._manifest.size), os.SEEK_DATA) // CHUNK
        except OSError as error:
            if error.errno == errno.ENXIO:
                return len(self._manifest.chunks)
            return index

    def store(self, index: int, data: bytes | memoryview) -> None:
        with self._idle:
            if self._closed:
                raise Closed
            self._writers += 1
            self.useful = True
        try:
            view, place = memoryview(data), index * CHUNK
            while view:
                count = os.pwrite(self._descriptor, view, place)
                view, place = view[count:], place + count
            # On Linux this begins to write dirty pages to disk: a sync of 20 GB at the end would hold up the guests.
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._descriptor, index * CHUNK, len(data), os.POSIX_FADV_DONTNEED)
        finally:
            with self._idle:
                self._writers -= 1
                self._idle.notify_all()

    def follow(self, index: int) -> memoryview:
        """Read back from the file: the digest of the whole is of what the host has, not of what was sent."""
        view = self._buffer[: self._manifest.chunk_length(index)]
        done = 0
        while done < len(view):
            count = os.preadv(self._descriptor, [view[done:]], index * CHUNK + done)
            if not count:
                raise OSError(errno.EIO, f"the image's file ends within chunk {index}")
            done += count
        return view

    def finish(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        """A worker that hangs in the network may wake up later, when the descriptor's number is another file's."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: self._writers == 0)


class StreamSink:
    """A pipe into the host's receiver: verified chunks wait here for their turn."""

    useful = False

    def __init__(self, descriptor: int, window: int) -> None:
        self.window: int | None = window
        self._descriptor = descriptor
        self._waiting: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._closed = False
        os.set_blocking(descriptor, False)

    def scan(self, seen: Callable[[int], None]) -> set[int]:
        return set()

    def store(self, index: int, data: bytes | memoryview) -> None:
        with self._lock:
            if self._closed:
                raise Closed
            self._waiting[index] = bytes(data)

    def follow(self, index: int) -> bytes:
        with self._lock:
            data = self._waiting.pop(index)
        with self._writing:
            self._write(memoryview(data))
        return data

    def _write(self, view: memoryview) -> None:
        """A receiver that hangs must not hold a cancelled pull: never wait longer than a moment at once."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while view:
            if self._closed:
                raise Closed
            if not poll.poll(_TICK_MS):
                continue
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise OSError(errno.EPIPE, "the host's receiver ended before the image did") from None

    def finish(self) -> None:
        """The end of the stream tells the receiver; making it durable is the receiver's part."""

    def close(self) -> None:
        with self._lock:
            self._closed = True
        with self._writing:
            self._waiting.clear()
