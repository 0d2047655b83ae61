"""A temporary pool, and short ways to ask for things in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from skep_helper import codec
from skep_helper.handlers import Context
from skep_helper.linux import storage
from skep_helper.policy import Policy
from skep_helper.vocabulary import (
    CreateDisk,
    CreateGuestFolder,
    FolderReading,
    OpenImageWriter,
    PublishImage,
    ReadStorage,
    StorageReading,
)

MIB = 1 << 20
KEY = "0123456789abcdef"
DIGEST = "ab" * 32


class Lab:
    """Requests go through the codec, as they would on the wire."""

    def __init__(self, folder: Path) -> None:
        self.policy = Policy(pool=folder / "pool", run=folder / "run", log=folder / "log", user="nobody")
        self.pool = self.policy.pool
        self.progress: list[tuple[int, int]] = []
        storage.prepare(self.policy)

    def ask(self, request: Any) -> Any:
        return self.ask_with(request)[0]

    def ask_with(self, request: Any) -> tuple[Any, list[int]]:
        """The answer, and the descriptors that came with it."""
        request = codec.decode(codec.loads(codec.dumps(request)))
        context = Context(policy=self.policy, peer_uid=0, progress=lambda *told: self.progress.append(told))
        try:
            answer = storage.HANDLERS[type(request)](context, request)
        except BaseException:
            for descriptor in context.answer_descriptors:
                os.close(descriptor)
            raise
        return codec.decode_any(codec.loads(codec.dumps(answer))), context.answer_descriptors

    def reading(self) -> StorageReading:
        answer = self.ask(ReadStorage())
        assert isinstance(answer, StorageReading)
        return answer

    def folder(self, guest: str) -> FolderReading:
        return next(folder for folder in self.reading().folders if folder.guest == guest)

    def guest(self, name: str, *disks: CreateDisk) -> None:
        self.ask(CreateGuestFolder(guest=name))
        for disk in disks:
            self.ask(disk)

    def disk(self, guest: str, disk: str, format: str = "qcow2") -> Path:
        return self.pool / "guests" / guest / "disks" / f"{disk}.{format}"

    def image(self, name: str, version: str, format: str, content: bytes, digest: str = DIGEST) -> None:
        """Write and publish."""
        _, (descriptor,) = self.ask_with(OpenImageWriter(image=name, version=version, format=format, size=len(content)))
        with os.fdopen(descriptor, "r+b") as stream:
            stream.write(content)
        self.ask(PublishImage(image=name, version=version, format=format, digest=digest))


def tool(*argv: str | Path) -> str:
    return subprocess.run([str(part) for part in argv], check=True, capture_output=True, text=True).stdout


def pattern(path: Path, byte: int, start: int, length: int, format: str = "qcow2") -> None:
    """Write a byte over a range of a disk, as a guest would."""
    tool("qemu-io", "-f", format, "-c", f"write -P {byte} {start} {length}", path)


def holds(path: Path, byte: int, start: int, length: int, format: str = "qcow2") -> bool:
    """Whether a range of a disk consists of this byte."""
    command = ["qemu-io", "-r", "-f", format, "-c", f"read -P {byte} {start} {length}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "verification failed" not in done.stdout:
        raise AssertionError(done.stdout + done.stderr)
    return done.returncode == 0


def qcow2_content(folder: Path, byte: int, size: int = 8 * MIB) -> bytes:
    """A small qcow2 file whose first MiB is this byte."""
    path = folder / "made.qcow2"
    tool("qemu-img", "create", "-q", "-f", "qcow2", path, str(size))
    pattern(path, byte, 0, MIB)
    return path.read_bytes()


def tree(root: Path) -> dict[str, tuple[int, ...]]:
    """Every path below a folder with what identifies its state, links not followed."""
    found: dict[str, tuple[int, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            found[path] = (status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_size)
    return found
