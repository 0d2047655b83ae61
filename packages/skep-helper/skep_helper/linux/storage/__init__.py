"""Storage on files: qcow2 and raw disks, images, snapshots and the trash, below the policy's pool."""

from __future__ import annotations

from skep_helper.handlers import Handler
from skep_helper.policy import Policy
from skep_helper.storage import seed
from skep_helper.vocabulary import (
    AbandonImage,
    CompareSnapshot,
    CreateDisk,
    CreateGuestFolder,
    EmptyTrash,
    Feature,
    GrowDisk,
    OpenImageWriter,
    PublishImage,
    ReadStorage,
    RemoveDisk,
    RemoveImage,
    RemoveSnapshot,
    RollBackGuest,
    SnapshotGuest,
    TrashGuestFolder,
    UntrashGuestFolder,
    WriteSeed,
)
from skep_helper.vocabulary.adoption import ADOPTION_VERBS
from skep_helper.vocabulary.streams import STREAM_VERBS

from . import creation, disks, folders, images, layout, reading, snapshots, streams, trash

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
    CompareSnapshot: snapshots.compare,
    WriteSeed: seed.writer(layout.shared_guest),
    OpenImageWriter: images.open_writer,
    PublishImage: images.publish,
    AbandonImage: images.abandon,
    RemoveImage: images.remove,
    ReadStorage: reading.read,
    **dict.fromkeys(STREAM_VERBS, streams.refuse),
    **dict.fromkeys(ADOPTION_VERBS, streams.refuse),
}

LONG: frozenset[type] = frozenset(
    {
        TrashGuestFolder,
        EmptyTrash,
        CreateDisk,
        GrowDisk,
        RemoveDisk,
        SnapshotGuest,
        RollBackGuest,
        RemoveSnapshot,
        CompareSnapshot,
        WriteSeed,
        PublishImage,
        RemoveImage,
    }
)
"""Whatever copies, syncs or removes much data, starts a tool, or waits for a guest."""


def features(policy: Policy) -> tuple[Feature, ...]:
    reason = "the helper's policy names no dataset, so disks are files"
    return (Feature(name="zfs", works=False, reason=reason),)


FEATURES = features


def prepare(policy: Policy) -> None:
    """At start, before the first request."""
    layout.prepare(policy)
    trash.prune_all(policy)


def recover(policy: Policy) -> None:
    """At start, beside the first requests: finish what a crash interrupted."""
    snapshots.finish_interrupted(policy)
    folders.sweep(policy)
