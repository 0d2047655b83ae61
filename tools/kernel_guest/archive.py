"""The initramfs: a cpio archive in the form that the kernel unpacks (newc)."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class Archive:
    """Files are added one by one, each name once; the first wins."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._names: set[str] = set()

    def add(self, name: str, mode: int, data: bytes = b"") -> None:
        """A file, folder or link; its folders are added when they are not there. Once for each name."""
        name = name.strip("/")
        if name in self._names:
            return
        if "/" in name:
            self.add(name.rpartition("/")[0], stat.S_IFDIR | 0o755)
        self._names.add(name)
        self._write(name, mode, data)

    def add_folder(self, name: str) -> None:
        self.add(name, stat.S_IFDIR | 0o755)

    def add_link(self, name: str, target: str) -> None:
        self.add(name, stat.S_IFLNK | 0o777, target.encode())

    def add_text(self, name: str, text: str, mode: int = 0o644) -> None:
        self.add(name, stat.S_IFREG | mode, text.encode())

    def add_file(self, path: Path, name: str | None = None) -> None:
        """A file of this machine, under its own name or another; what a link points to, not the link."""
        mode = stat.S_IFREG | (0o755 if os.access(path, os.X_OK) else 0o644)
        self.add(name or str(path), mode, path.read_bytes())

    def close(self) -> None:
        self._write("TRAILER!!!", 0, b"")
        self._stream.close()

    def _write(self, name: str, mode: int, data: bytes) -> None:
        fields = (len(self._names), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        self._stream.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))
