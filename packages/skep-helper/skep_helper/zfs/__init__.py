"""Storage on OpenZFS, the same on every platform: a guest is a file system with its disks as volumes below it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from ..handlers import Context, Handler
from ..paths import Folder
from ..policy import Policy
from ..storage import seed
from ..vocabulary import (
    AbandonImage,
    CompareSnapshot,
    CreateDisk,
    CreateGuestFolder,
    EmptyTrash,
    GrowDisk,
    OpenImageWriter,
    PublishImage,
    ReadStorage,
    ReceiveImage,
    RemoveDisk,
    RemoveImage,
    RemoveSnapshot,
    RollBackGuest,
    SnapshotGuest,
    TrashGuestFolder,
    UntrashGuestFolder,
    WriteSeed,
)
from . import adoption, comparing, creation, disks, features, folders, images, layout, reading, snapshots, transfer


def _shared_guest(context: Context, guest: str) -> AbstractContextManager[Folder]:
    return layout.held_guest(context.policy, guest, shared=True, progress=context.progress)


HANDLERS: dict[type, Handler] = {
    CreateGuestFolder: folders.create,
    TrashGuestFolder: folders.trash_folder,
    UntrashGuestFolder: folders.untrash_folder,
    EmptyTrash: folders.empty_trash,
    CreateDisk: creation.create_disk,
    GrowDisk: disks.grow_disk,
    RemoveDisk: disks.remove_disk,
    SnapshotGuest: snapshots.snapshot,
    RollBackGuest: snapshots.roll_back,
    RemoveSnapshot: snapshots.remove,
    CompareSnapshot: comparing.compare,
    WriteSeed: seed.writer(_shared_guest),
    OpenImageWriter: images.open_writer,
    PublishImage: images.publish,
    AbandonImage: images.abandon,
    RemoveImage: images.remove,
    ReceiveImage: images.receive,
    ReadStorage: reading.read,
    **adoption.HANDLERS,
    **transfer.HANDLERS,
}

LONG: frozenset[type] = frozenset(HANDLERS)
"""All of them: every one waits for a command, and a pool that has lost its disks lets commands hang."""

FEATURES = features.features


def prepare(policy: Policy) -> None:
    """At start, before the first request."""
    layout.prepare(policy)
    folders.prune_all(policy)


def recover(policy: Policy) -> None:
    """At start, beside the first requests: finish what a crash interrupted."""
    snapshots.finish_interrupted(policy)
    folders.sweep(policy)
