"""Durable files: the few operations that the engine needs, so that a simulated disk can lose power beneath them.

Nothing is promised to be on disk before fsync of the file (its content) and fsync_folder of its folder (its name).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """Paths are absolute. Errors are OSError, as os raises them."""

    def read(self, path: Path) -> bytes: ...

    def write(self, path: Path, data: bytes) -> None:
        """Create or truncate, mode 0600."""
        ...

    def append(self, path: Path, data: bytes) -> None: ...

    def fsync(self, path: Path) -> None: ...

    def rename(self, source: Path, target: Path) -> None: ...

    def remove(self, path: Path) -> None: ...

    def names(self, folder: Path) -> list[str]:
        """Sorted names in a folder; [] when there is no such folder."""
        ...

    def fsync_folder(self, folder: Path) -> None: ...


class DiskFiles:
    """The real thing."""

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def write(self, path: Path, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)

    def append(self, path: Path, data: bytes) -> None:
        with open(path, "ab") as stream:
            stream.write(data)

    def fsync(self, path: Path) -> None:
        self._sync(path, os.O_RDONLY)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def remove(self, path: Path) -> None:
        path.unlink()

    def names(self, folder: Path) -> list[str]:
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []

    def fsync_folder(self, folder: Path) -> None:
        self._sync(folder, os.O_RDONLY | os.O_DIRECTORY)

    @staticmethod
    def _sync(path: Path, flags: int) -> None:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace(files: Files, path: Path, data: bytes) -> None:
    """Write a file so that after a power loss either the old or the new content is there, and the new one once
    this returns."""
    temporary = path.with_name(f".{path.name}.new")
    files.write(temporary, data)
    files.fsync(temporary)
    files.rename(temporary, path)
    files.fsync_folder(path.parent)


def discard(files: Files, path: Path) -> None:
    """Remove a file durably; nothing happens when there is none.

    The folder is synced also when the file is gone already: whoever removed it may have died before it was durable.
    """
    with suppress(FileNotFoundError):
        files.remove(path)
    with suppress(FileNotFoundError):
        files.fsync_folder(path.parent)


def temporary(name: str) -> bool:
    """Whether `replace` gave a file this name: left by a crash, it holds nothing that anybody relies upon."""
    return name.startswith(".") and name.endswith(".new")
