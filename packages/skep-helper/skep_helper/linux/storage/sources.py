"""What guests need of storage on files; see linux.guests_sources."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from skep_helper.handlers import Failure
from skep_helper.linux.qemu.command import Source
from skep_helper.paths import Folder
from skep_helper.policy import Policy
from skep_helper.storage import records

from . import disks, layout
from .layout import guest_folder as guest_folder


@contextmanager
def held_guest(policy: Policy, guest: str) -> Iterator[Folder]:
    with layout.held_guest(policy, guest, shared=True, unfinished=True) as folder:
        if folder.exists(layout.ROLLBACK):
            raise Failure("busy", f"guest {guest}: a rollback of its disks is under way; finish it first")
        yield folder


def disk(policy: Policy, folder: Folder, disk: str) -> Source:
    record = _record(folder, disk)
    base = image(policy, *record.image.split(":", 1)).format if record.linked else None
    return Source(_driver(record.format), base)


def image(policy: Policy, image: str, version: str) -> Source:
    with layout.image_folder(policy, image, version) as folder:
        record = records.read(folder, layout.RECORD, records.ImageRecord)
    if record is None:
        raise Failure("missing", f"image {image}:{version} has no record; pull it again")
    return Source(_driver(record.format))


def open_disk(policy: Policy, folder: Folder, disk: str) -> tuple[int, str]:
    record = _record(folder, disk)
    with folder.folder(layout.DISKS) as there:
        name = f"{disk}.{record.format}"
        descriptor, path = there.open(name, os.O_RDWR), there.shown(name)
    try:
        disks.require_alone(record.format, descriptor, f"disk {disk} of guest {os.path.basename(folder.path)}")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, path


def open_base(policy: Policy, folder: Folder, disk: str) -> tuple[int, str]:
    return open_image(policy, *_record(folder, disk).image.split(":", 1))


def open_image(policy: Policy, image: str, version: str) -> tuple[int, str]:
    with layout.image_folder(policy, image, version) as folder:
        return folder.open(layout.IMAGE), folder.shown(layout.IMAGE)


def _record(folder: Folder, disk: str) -> records.DiskRecord:
    try:
        with folder.folder(layout.DISKS) as there:
            record = records.read(there, f"{disk}.json", records.DiskRecord)
    except FileNotFoundError:
        record = None
    if record is None:
        raise Failure("missing", f"disk {disk} of guest {os.path.basename(folder.path)} is not there; create it first")
    return record


def _driver(format: str) -> str:
    """QEMU's name of a format; raises Failure for those that are not files."""
    if format in ("raw", "iso"):
        return "raw"
    if format != "qcow2":
        raise Failure("unsupported", f"format {format} needs a pool on ZFS")
    return format
