"""ReadStorage: everything that is in the pool, from the files themselves. No process is started."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress

from skep_helper import log
from skep_helper.handlers import Context, Failure
from skep_helper.paths import Folder
from skep_helper.policy import Policy
from skep_helper.storage import records, seed
from skep_helper.storage.records import DiskRecord, SnapshotRecord
from skep_helper.vocabulary import DiskReading, FolderReading, ImageReading, ReadStorage, StorageReading
from skep_helper.vocabulary.storage import SnapshotReading

from . import disks, images, layout, trash


def read(context: Context, request: ReadStorage) -> StorageReading:
    policy = context.policy
    users: Counter[str] = Counter()
    found = tuple(_folders(policy, users))
    with layout.pool_folder(policy) as pool:
        status = os.fstatvfs(pool.descriptor)
    return StorageReading(
        folders=found,
        images=tuple(
            ImageReading(
                image=name, version=version, format=record.format, size=record.size, digest=record.digest,
                users=users[f"{name}:{version}"],
            )
            for name, version, record in images.published(policy)
        ),
        free=status.f_bavail * status.f_frsize,
        total=status.f_blocks * status.f_frsize,
        trash=trash.keys(policy),
    )  # fmt: skip


def _folders(policy: Policy, users: Counter[str]) -> list[FolderReading]:
    found: list[FolderReading] = []
    with layout.pool_folder(policy, layout.GUESTS) as guests:
        for name in guests.names():
            # One that is moved to the trash meanwhile is not there.
            with suppress(FileNotFoundError), guests.folder(name) as folder:
                found.append(_folder(name, folder, users))
    return found


def _folder(guest: str, folder: Folder, users: Counter[str]) -> FolderReading:
    return FolderReading(
        guest=guest,
        disks=tuple(_disks(guest, folder, users)),
        snapshots=tuple(_snapshots(folder)),
        seed_digest=seed.digest_in(folder),
    )


def _disks(guest: str, folder: Folder, users: Counter[str]) -> list[DiskReading]:
    found: list[DiskReading] = []
    with suppress(FileNotFoundError), folder.folder(layout.DISKS) as there:
        for name in disks.names(there):
            with suppress(FileNotFoundError):
                found.append(_disk(guest, there, name, users))
    return found


def _disk(guest: str, there: Folder, name: str, users: Counter[str]) -> DiskReading:
    file, format = disks.file_of(there, name) or (name, "raw")
    record = records.read(there, f"{name}.json", DiskRecord) or DiskRecord(format=format, edition="thin")
    users[record.image] += record.linked
    descriptor = there.open(file)
    try:
        size = disks.virtual_size(format, descriptor, f"disk {name} of guest {guest}")
    except Failure as error:
        # One damaged disk must not hide all the others; whoever works on it is told.
        log.line("damaged", reason=error)
        size = 0
    finally:
        allocated = os.fstat(descriptor).st_blocks * 512
        os.close(descriptor)
    return DiskReading(
        guest=guest, disk=name, format=format, size=size, allocated=allocated, edition=record.edition,
        image=record.image,
    )  # fmt: skip


def _snapshots(folder: Folder) -> list[SnapshotReading]:
    found: list[SnapshotReading] = []
    with suppress(FileNotFoundError), folder.folder(layout.SNAPSHOTS) as there:
        for name in there.names():
            with suppress(FileNotFoundError), there.folder(name) as kept:
                record = records.read(kept, layout.RECORD, SnapshotRecord)
                if record:
                    found.append(
                        SnapshotReading(snapshot=name, created=record.created, disks=record.disks, frozen=record.frozen)
                    )
    return found
