"""Requests about guest folders, disks, snapshots and images. Names are names, never paths."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Amount, BlockSize, Checked, Digest, DiskSize, FileSize, ImageVersion, Name, SeedText, word

DISK_FORMATS = ("qcow2", "raw", "zvol")
IMAGE_FORMATS = ("raw", "qcow2", "zfs", "iso")
WRITTEN_FORMATS = ("raw", "qcow2", "iso")
"""An image of format zfs is a stream: see ReceiveImage."""


@dataclass(frozen=True, kw_only=True)
class CreateGuestFolder(Checked):
    """Make the guest's folder (dataset): root's, with `definition/` that belongs to skepd. Repeatable.

    Answer: {"made": whether it was not there before}, so that undoing removes nothing that somebody else made.
    """

    guest: Name


@dataclass(frozen=True, kw_only=True)
class TrashGuestFolder(Checked):
    """Move a stopped guest's folder, disks included, into the trash under its name and this key. Repeatable."""

    guest: Name
    key: Digest


@dataclass(frozen=True, kw_only=True)
class UntrashGuestFolder(Checked):
    """Undo of TrashGuestFolder."""

    guest: Name
    key: Digest


@dataclass(frozen=True, kw_only=True)
class EmptyTrash(Checked):
    """Remove for good what was put into the trash under this key. Repeatable, not undoable."""

    key: Digest


@dataclass(frozen=True, kw_only=True)
class CreateDisk(Checked):
    """Make a disk, blank or as a copy of an image; repeatable if the disk is there with the same size and base.

    edition: thin (sparse, linked clone of the image) or full (reserved, its own copy; long).
    Answer: {"made": whether it was not there before}.
    """

    guest: Name
    disk: Name
    size: DiskSize | None = None
    """None: the virtual size of its image, which may not have been pulled yet when the plan is made."""
    format: word(*DISK_FORMATS) = "qcow2"  # type: ignore[valid-type]
    edition: word("thin", "full") = "thin"  # type: ignore[valid-type]
    image: Name | None = None
    version: ImageVersion | None = None
    source_guest: Name | None = None
    """Clone the disk of the same name of this (stopped) guest instead of an image."""
    block: BlockSize | None = None
    """volblocksize of a blank volume, bytes; None: the host's choice. A copy has its original's, a file has none."""


@dataclass(frozen=True, kw_only=True)
class GrowDisk(Checked):
    """Grow a disk, also of a running guest; a disk never shrinks. Repeatable."""

    guest: Name
    disk: Name
    size: DiskSize


@dataclass(frozen=True, kw_only=True)
class RemoveDisk(Checked):
    """Move a disk into the trash under this key (restore: undo=True). Repeatable.

    Refused while the guest runs with this disk; one that was made since the guest started may go.
    """

    guest: Name
    disk: Name
    key: Digest
    undo: bool = False


@dataclass(frozen=True, kw_only=True)
class SnapshotGuest(Checked):
    """Snapshot all disks and the UEFI variables at one instant, running or not. Repeatable by name.

    quiesce: freeze the file systems through the guest agent where there is one; the answer's "frozen" says so.
    """

    guest: Name
    snapshot: Name
    quiesce: bool = True


@dataclass(frozen=True, kw_only=True)
class RollBackGuest(Checked):
    """Bring disks and UEFI variables of a stopped guest back to a snapshot. Repeatable; journalled by the helper."""

    guest: Name
    snapshot: Name


@dataclass(frozen=True, kw_only=True)
class RemoveSnapshot(Checked):
    guest: Name
    snapshot: Name


@dataclass(frozen=True, kw_only=True)
class CompareSnapshot(Checked):
    """What changed since a snapshot, and what a rollback to it would remove. Answer: ChangesReading.

    Refused as the rollback would be when a disk of the snapshot is gone or was made anew. The guest may run.
    """

    guest: Name
    snapshot: Name


@dataclass(frozen=True, kw_only=True)
class DiskChanges(Checked):
    """written: bytes of blocks that were written since, None when the storage does not tell. grown: bytes that the disk
    became larger, which a rollback takes back."""

    disk: Name
    written: Amount | None = None
    grown: int = 0


@dataclass(frozen=True, kw_only=True)
class ChangesReading(Checked):
    """newer: snapshots of the guest that a rollback removes."""

    disks: tuple[DiskChanges, ...] = ()
    newer: tuple[Name, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WriteSeed(Checked):
    """Render the NoCloud seed as an ISO 9660 volume named CIDATA in the guest's folder. Repeatable."""

    guest: Name
    user_data: SeedText
    meta_data: SeedText
    network_config: SeedText


@dataclass(frozen=True, kw_only=True)
class OpenImageWriter(Checked):
    """Answer: one descriptor open for writing a new, invisible image of this size (pwrite at any offset).

    Called again for the same name and version it resumes: the same file with what was written.
    """

    image: Name
    version: ImageVersion
    format: word(*WRITTEN_FORMATS)  # type: ignore[valid-type]
    size: FileSize


@dataclass(frozen=True, kw_only=True)
class PublishImage(Checked):
    """Make a written image visible, read-only. The helper inspects its format (no backing file, no data file).

    digest: SHA-256 of the whole content that the caller verified; recorded with the image.
    """

    image: Name
    version: ImageVersion
    format: word(*WRITTEN_FORMATS)  # type: ignore[valid-type]
    digest: Digest


@dataclass(frozen=True, kw_only=True)
class AbandonImage(Checked):
    image: Name
    version: ImageVersion


@dataclass(frozen=True, kw_only=True)
class RemoveImage(Checked):
    """Remove an image that no disk is based on."""

    image: Name
    version: ImageVersion


@dataclass(frozen=True, kw_only=True)
class ReadStorage(Checked):
    """Answer: StorageReading; no process is started for it on files, a constant number on ZFS."""


@dataclass(frozen=True, kw_only=True)
class DiskReading(Checked):
    guest: Name
    disk: Name
    format: word(*DISK_FORMATS)  # type: ignore[valid-type]
    size: int
    allocated: int = 0
    edition: word("thin", "full") = "thin"  # type: ignore[valid-type]
    image: str = ""
    """NAME:VERSION of the image it was made from, empty for none."""
    adopted: str = ""
    """The dataset that it was before it was taken over from somebody else (AdoptDisk)."""


@dataclass(frozen=True, kw_only=True)
class SnapshotReading(Checked):
    snapshot: Name
    created: float
    disks: tuple[Name, ...]
    frozen: bool = False


@dataclass(frozen=True, kw_only=True)
class FolderReading(Checked):
    guest: Name
    disks: tuple[DiskReading, ...] = ()
    snapshots: tuple[SnapshotReading, ...] = ()
    seed_digest: str = ""
    """SHA-256 over user data, meta data and network configuration, each ended by a NUL; empty without a seed."""
    promoted_here: bool = True
    """Whether this host is the one that may run the guest (a replica says False)."""


@dataclass(frozen=True, kw_only=True)
class ImageReading(Checked):
    image: Name
    version: ImageVersion
    format: word(*IMAGE_FORMATS)  # type: ignore[valid-type]
    size: int
    """Virtual size in bytes: the least size of a disk made from it."""
    digest: str = ""
    users: int = 0
    """How many disks are linked to it."""


@dataclass(frozen=True, kw_only=True)
class StorageReading(Checked):
    folders: tuple[FolderReading, ...] = ()
    images: tuple[ImageReading, ...] = ()
    free: int = 0
    total: int = 0
    trash: tuple[str, ...] = ()
    """Keys under which something lies in the trash."""
