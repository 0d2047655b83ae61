"""The serial history of a guest: a byte stream kept in segment files named by the offset they start at.

Offsets count from the guest's first output ever, so a reader that names one gets the same bytes tomorrow, or is told
that they are gone. The folder lies beside the guest's disks and moves with them.
"""

from __future__ import annotations

import os

SEGMENT = 1 << 20
SEGMENTS = 8
"""So many segments of so many bytes are kept; the oldest goes first."""


class History:
    """Open for appending (by the one guard) or only for reading. Raises OSError."""

    def __init__(self, folder: str, *, segment: int = SEGMENT, segments: int = SEGMENTS) -> None:
        self.folder = folder
        self._size = segment
        self._keep = segments
        self._writer = -1
        self._starts = sorted(int(name) for name in os.listdir(folder) if name.isdigit())
        last = self._starts[-1] if self._starts else 0
        self.end = last + (os.stat(self._path(last)).st_size if self._starts else 0)

    @property
    def start(self) -> int:
        """The offset of the oldest byte that is still kept."""
        return self._starts[0] if self._starts else self.end

    def place(self, offset: int | None) -> int:
        """The offset that is meant: negative ones count from the end, None is the end; what is gone is not meant."""
        if offset is None:
            return self.end
        return min(max(offset if offset >= 0 else self.end + offset, self.start), self.end)

    def append(self, data: bytes) -> None:
        if self._writer < 0 or self.end - self._starts[-1] >= self._size:
            self._turn()
        rest = memoryview(data)
        while rest:
            written = os.write(self._writer, rest)
            self.end += written
            rest = rest[written:]

    def read(self, offset: int, length: int) -> tuple[int, bytes]:
        """Up to length bytes at the offset, or at the next that is kept. Returns (offset, bytes)."""
        offset = min(max(offset, self.start), self.end)
        parts: list[bytes] = []
        at = offset
        while length > 0 and at < self.end:
            start = max(item for item in self._starts if item <= at)
            descriptor = os.open(self._path(start), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                data = os.pread(descriptor, min(length, self._size * 2), at - start)
            finally:
                os.close(descriptor)
            if not data:
                break
            parts.append(data)
            at += len(data)
            length -= len(data)
        return offset, b"".join(parts)

    def close(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def _path(self, start: int) -> str:
        return f"{self.folder}/{start:020d}"

    def _turn(self) -> None:
        """Go on in the last segment if it has room, else begin one and drop the oldest."""
        self.close()
        if not self._starts or self.end - self._starts[-1] >= self._size:
            self._starts.append(self.end)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._writer = os.open(self._path(self._starts[-1]), flags, 0o600)
        while len(self._starts) > self._keep:
            os.unlink(self._path(self._starts.pop(0)))
