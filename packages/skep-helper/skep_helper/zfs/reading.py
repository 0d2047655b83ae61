"""ReadStorage: everything that is in the pool, by one `zfs list`, and the seeds' digests from the guests' folders."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

from ..handlers import Context, Failure
from ..policy import Policy
from ..storage import seed
from ..vocabulary import DiskReading, FolderReading, ImageReading, ReadStorage, StorageReading
from ..vocabulary.storage import SnapshotReading
from . import folders, images, layout, listing, names
from .identity import host_id
from .listing import Entry, Tree
from .snapshots import disks_in


def read(context: Context, request: ReadStorage) -> StorageReading:
    policy = context.policy
    tree = listing.read(policy.dataset, progress=context.progress)
    top = tree.get(policy.dataset)
    if top is None:
        raise Failure("missing", f"{policy.dataset} is gone: is its pool imported (zpool import)?")
    users = Counter({name: len(disks) for name, disks in images.users(policy, tree).items()})
    return StorageReading(
        folders=folders_in(policy, tree, host_id()),
        images=tuple(
            ImageReading(
                image=name, version=version, format=entry.mark("format"), size=entry.size,
                digest=entry.mark("digest"), users=users[entry.name],
            )
            for name, version, entry in images.all_published(policy, tree)
        ),
        free=top.available,
        total=top.used + top.available,
        trash=folders.keys(policy, tree),
    )  # fmt: skip


def folders_in(policy: Policy, tree: Tree, host: str) -> tuple[FolderReading, ...]:
    """host: of this machine; a guest that names another one may not run here."""
    return tuple(
        FolderReading(
            guest=entry.leaf,
            disks=tuple(_disk(entry.leaf, disk) for disk in layout.disks_of(policy, entry.leaf, tree).values()),
            snapshots=tuple(_snapshot(item) for item in tree.snapshots(entry.name) if item.mark("snapshot")),
            seed_digest=_seed_digest(policy, entry),
            promoted_here=entry.mark("host") == host,
        )
        for entry in tree.below(names.dataset(policy, names.GUESTS))
        if layout.is_guest(entry)
    )


def _disk(guest: str, entry: Entry) -> DiskReading:
    return DiskReading(
        guest=guest, disk=entry.leaf, format="zvol", size=entry.size, allocated=entry.used,
        edition=entry.mark("disk"), image=entry.mark("image"), adopted=entry.mark("adopted"),
    )  # fmt: skip


def _snapshot(entry: Entry) -> SnapshotReading:
    return SnapshotReading(
        snapshot=entry.mark("snapshot"), created=float(entry.created), disks=disks_in(entry),
        frozen=entry.mark("frozen") == "yes",
    )  # fmt: skip


def _seed_digest(policy: Policy, entry: Entry) -> str:
    """Of a guest whose file system is not mounted, or that goes to the trash just now, none is known."""
    if not entry.mounted:
        return ""
    with suppress(FileNotFoundError), layout.area_folder(policy, names.GUESTS, entry.leaf) as folder:
        return seed.digest_in(folder)
    return ""
