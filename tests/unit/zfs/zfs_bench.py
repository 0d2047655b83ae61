"""Short ways to ask for storage on a pool that is only told of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fake_zfs import FakeZfs
from skep_helper import codec, zfs
from skep_helper.handlers import Context
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


class Bench:
    """Requests go through the codec, as they would on the wire."""

    def __init__(self, folder: Path) -> None:
        self.zfs = FakeZfs(folder)
        self.pool = folder / "pool"
        self.policy = Policy(pool=self.pool, run=folder / "run", dataset="tank/skep", user="nobody")

    def start(self) -> None:
        zfs.prepare(self.policy)
        zfs.recover(self.policy)

    def ask(self, request: Any) -> Any:
        return self.ask_with(request)[0]

    def ask_with(self, request: Any) -> tuple[Any, list[int]]:
        request = codec.decode(codec.loads(codec.dumps(request)))
        context = Context(policy=self.policy, peer_uid=0)
        try:
            answer = zfs.HANDLERS[type(request)](context, request)
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

    def guest(self, name: str, *disks: str) -> None:
        self.ask(CreateGuestFolder(guest=name))
        for disk in disks:
            self.ask(self.disk(name, disk))

    def disk(self, guest: str, disk: str, **fields: Any) -> CreateDisk:
        return CreateDisk(**{"guest": guest, "disk": disk, "size": 8 * MIB, "format": "zvol", **fields})

    def node(self, guest: str, disk: str) -> Path:
        return self.zfs.zvol / "tank/skep/guests" / guest / disk

    def image(
        self, name: str = "debian", version: str = "12", content: bytes = b"image" * 1024, format: str = "raw"
    ) -> None:
        content = content if format == "qcow2" else content.ljust(MIB, b"\0")
        request = OpenImageWriter(image=name, version=version, format=format, size=len(content))
        _, (descriptor,) = self.ask_with(request)
        os.pwrite(descriptor, content, 0)
        os.close(descriptor)
        self.ask(PublishImage(image=name, version=version, format=format, digest=DIGEST))

    def said(self, *verbs: str) -> list[list[str]]:
        """The commands of these verbs so far."""
        return [call for call in self.zfs.calls if call[1] in verbs]
