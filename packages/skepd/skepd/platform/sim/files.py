"""Files of a simulated disk that loses power: only what was fsynced is there afterwards.

The model, which is that of POSIX and not of a kind file system: write and append change the content that is seen;
fsync makes the content of a file durable; creating, renaming and removing change the names that are seen;
fsync_folder makes the names of one folder durable. After a power loss each folder has the names it had at its last
fsync, and each file that has a name the content of its last fsync or, by a seeded choice, what a disk may have made
of what came after it: the old content, nothing, or a torn mix.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class _File:
    """content: what is seen. durable: what was last fsynced. truncated: whether it was written anew since then."""

    content: bytes = b""
    durable: bytes = b""
    truncated: bool = False


class SimFiles:
    """Implements skepd.files.Files in memory. Thread-safe.

    Folders are there as soon as they are named; making folders is not modelled. before_change(number) is called
    before each changing operation with its number from 1: raise something there to die at that point.
    """

    def __init__(self, seed: int = 0, before_change: Callable[[int], None] | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a choice of damage, not a secret
        self._names: dict[Path, _File] = {}
        self._durable_names: dict[Path, _File] = {}
        # The names in each folder; None: to be made anew.
        self._tree: dict[Path, set[str]] | None = None
        self._before_change = before_change
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    def read(self, path: Path) -> bytes:
        with self._lock:
            return self._file(path).content

    def write(self, path: Path, data: bytes) -> None:
        with self._changing():
            # A truncated file is the same file: what was durable of it is at stake, as on a real disk.
            file = self._new(path)
            file.content, file.truncated = bytes(data), True

    def append(self, path: Path, data: bytes) -> None:
        with self._changing():
            self._new(path).content += bytes(data)

    def fsync(self, path: Path) -> None:
        with self._changing():
            file = self._file(path)
            file.durable, file.truncated = file.content, False

    def rename(self, source: Path, target: Path) -> None:
        with self._changing():
            self._file(source)
            self._names[target] = self._names.pop(source)
            self._tree = None

    def remove(self, path: Path) -> None:
        with self._changing():
            self._file(path)
            del self._names[path]
            self._tree = None

    def names(self, folder: Path) -> list[str]:
        with self._lock:
            if self._tree is None:
                self._tree = _tree(self._names)
            return sorted(self._tree.get(folder, ()))

    def fsync_folder(self, folder: Path) -> None:
        with self._changing():
            self._durable_names = {path: f for path, f in self._durable_names.items() if path.parent != folder}
            self._durable_names |= {path: f for path, f in self._names.items() if path.parent == folder}

    def lose_power(self) -> None:
        """What was not fsynced may be lost, and is, as badly as a disk can."""
        with self._lock:
            left = {path: self._damaged(file) for path, file in sorted(self._durable_names.items())}
            survived = {path: _File(content, content) for path, content in left.items()}
            self._names, self._durable_names = survived, dict(survived)
            self._tree = None

    def _damaged(self, file: _File) -> bytes:
        old, new = file.durable, file.content
        if old == new:
            return new
        # What was fsynced and only appended to since stays; what was truncated may be gone altogether.
        safe = 0 if file.truncated else len(old)
        cut = self._random.randint(safe, len(new))
        return self._random.choice((old, new[:safe], new[:cut], new[:cut] + bytes(len(new) - cut)))

    def _new(self, path: Path) -> _File:
        if path not in self._names:
            self._names[path] = _File()
            self._tree = None
        return self._names[path]

    def _file(self, path: Path) -> _File:
        file = self._names.get(path)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return file

    def _changing(self) -> threading.RLock:
        """The lock, after the hook of this operation."""
        number = next(self._numbers)
        if self._before_change is not None:
            self._before_change(number)
        return self._lock


def _tree(paths: Iterable[Path]) -> dict[Path, set[str]]:
    """Names of files and folders by the folder that they are in."""
    tree: dict[Path, set[str]] = {}
    for path in paths:
        # A folder that is known has known parents.
        while path != path.parent and path.name not in tree.get(path.parent, ()):
            tree.setdefault(path.parent, set()).add(path.name)
            path = path.parent
    return tree
