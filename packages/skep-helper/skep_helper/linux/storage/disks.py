"""Disks of guests: where they are, what lies beneath them, and the requests that make, grow and remove one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from skep_helper.guard import client as guard
from skep_helper.handlers import Context, Failure
from skep_helper.paths import Folder
from skep_helper.policy import Policy
from skep_helper.storage import content, locks, qcow2, records, tool
from skep_helper.storage.records import DiskRecord, ImageRecord
from skep_helper.vocabulary import GrowDisk, Rejected, RemoveDisk

from . import layout, trash

FORMATS = ("qcow2", "raw")
_SECTOR = 512


@dataclass(frozen=True, kw_only=True)
class OpenDisk:
    """A disk held open, with the image beneath it if it is linked to one. `with` closes both.

    base: (format, descriptor) of the image, open for reading only.
    """

    name: str
    format: str
    descriptor: int
    record: DiskRecord
    base: tuple[str, int] | None = None

    @property
    def descriptors(self) -> tuple[int, ...]:
        return (self.descriptor, self.base[1]) if self.base else (self.descriptor,)

    @property
    def node(self) -> str:
        """The whole chain, for qemu-img."""
        return tool.node(self.format, self.descriptor, self.base)

    def size(self) -> int:
        """Virtual size in bytes; raises Failure when the file is damaged."""
        return virtual_size(self.format, self.descriptor, f"disk {self.name}")


def attached(policy: Policy, guest_name: str) -> frozenset[str]:
    """The disks that a guest's VMM has open: those it was started with; none when the guest does not run."""
    if not guard.is_running(policy, guest_name):
        return frozenset()
    return frozenset((guard.read(policy, guest_name) or {}).get("disks", ()))


def whole_sectors(size: int) -> int:
    """Bytes, rounded up to what a disk can have."""
    return -(-size // _SECTOR) * _SECTOR


def require_alone(format: str, descriptor: int, what: str) -> None:
    """A VMM can write anything into its disk, also a header that sends the next reader to another file.

    What we cannot read to its end may say that too, so it is refused as well.
    """
    if format == "qcow2" and _header(descriptor, what).needs_data_file:
        raise Failure("failed", f"{what} refers to another file, which no disk of ours does; restore it")


def virtual_size(format: str, descriptor: int, what: str) -> int:
    return _header(descriptor, what).size if format == "qcow2" else os.fstat(descriptor).st_size


def _header(descriptor: int, what: str) -> qcow2.Header:
    try:
        return qcow2.read_header(descriptor)
    except Rejected as error:
        raise Failure("failed", f"{what} is damaged: {error}; roll back to a snapshot or restore it") from None


def file_of(disks: Folder, disk: str) -> tuple[str, str] | None:
    """(file name, format) of a disk in the guest's disks folder, None when there is none."""
    for format in FORMATS:
        if disks.exists(f"{disk}.{format}"):
            return f"{disk}.{format}", format
    return None


def names(disks: Folder) -> list[str]:
    """The disks in a guest's disks folder."""
    parts = [name.rpartition(".") for name in disks.names() if not name.startswith(".")]
    return [stem for stem, _, format in parts if format in FORMATS]


def open_disk(policy: Policy, disks: Folder, disk: str) -> OpenDisk:
    """Open a disk for reading and writing; raises Failure("missing"). To be used under the guest's lock."""
    found = file_of(disks, disk)
    if not found:
        raise Failure("missing", f"there is no disk {disk} in {disks.path}")
    record = records.read(disks, f"{disk}.json", DiskRecord) or DiskRecord(format=found[1], edition="thin")
    descriptor = disks.open(found[0], os.O_RDWR)
    try:
        require_alone(found[1], descriptor, disks.shown(found[0]))
        base = open_image(policy, record.image) if record.linked else None
    except BaseException:
        os.close(descriptor)
        raise
    return OpenDisk(name=disk, format=found[1], descriptor=descriptor, record=record, base=base)


def open_image(policy: Policy, reference: str) -> tuple[str, int]:
    """(format, read-only descriptor) of a published image NAME:VERSION; raises Failure("missing")."""
    name, _, version = reference.partition(":")
    with layout.image_folder(policy, name, version) as folder:
        record = records.read(folder, layout.RECORD, ImageRecord)
        if not record:
            raise Failure("missing", f"image {reference} has no record; remove it and pull it again")
        # An ISO is raw bytes for whoever reads it.
        return "qcow2" if record.format == "qcow2" else "raw", folder.open(layout.IMAGE)


@contextmanager
def opened(policy: Policy, disks: Folder, disk: str) -> Iterator[OpenDisk]:
    value = open_disk(policy, disks, disk)
    try:
        yield value
    finally:
        for descriptor in value.descriptors:
            os.close(descriptor)


@contextmanager
def held_disk(context: Context, disks: Folder, disk: str) -> Iterator[None]:
    """The only work on this disk; other disks of the guest may be worked on at the same time."""
    busy = f"{disks.shown(disk)}: other work on this disk is under way; try again when it has ended"
    with locks.held(disks, disk, busy, context.progress):
        yield


def grow_disk(context: Context, request: GrowDisk) -> None:
    policy = context.policy
    what = f"disk {request.disk} of guest {request.guest}"
    with ExitStack() as stack:
        folder = stack.enter_context(layout.held_guest(policy, request.guest, shared=True, progress=context.progress))
        disks = stack.enter_context(disks_folder(folder))
        stack.enter_context(held_disk(context, disks, request.disk))
        disk = stack.enter_context(opened(policy, disks, request.disk))
        size, wanted = disk.size(), whole_sectors(request.size)
        if wanted < size:
            raise Failure("conflict", f"{what} has {size} bytes; a disk never shrinks to {request.size}")
        if wanted > size:
            if request.disk in attached(policy, request.guest):
                guard.grow(policy, request.guest, request.disk, wanted)
            else:
                _grow_file(context, disk, wanted, what)
        os.fsync(disk.descriptor)


def _grow_file(context: Context, disk: OpenDisk, size: int, what: str) -> None:
    full = disk.record.edition == "full"
    if full:
        content.require_space(disk.descriptor, size - disk.size(), what)
    if disk.format == "raw":
        os.ftruncate(disk.descriptor, size)
        if full:
            os.posix_fallocate(disk.descriptor, 0, size)
        return
    options = ["--preallocation=falloc"] if full else []
    arguments = ["resize", *options, disk.node, str(size)]
    tool.qemu_img(context.policy, arguments, disk.descriptors, f"growing {what}", context.progress, size)


def disks_folder(folder: Folder) -> Folder:
    """The disks folder of a guest's folder, made if need be."""
    return folder.make(layout.DISKS)


def remove_disk(context: Context, request: RemoveDisk) -> None:
    """To the trash or back. The disk's file moves first, so that a disk is where its file is."""
    policy = context.policy
    with ExitStack() as stack:
        folder = stack.enter_context(layout.held_guest(policy, request.guest))
        if request.disk in attached(policy, request.guest):
            raise Failure("busy", f"guest {request.guest} runs with disk {request.disk}; stop it before it is moved")
        disks = stack.enter_context(disks_folder(folder))
        stack.callback(trash.prune, policy, request.key)
        bin = stack.enter_context(trash.folder(policy, request.key, layout.DISKS, request.guest))
        # What a killed CreateDisk left: nobody makes this disk now, the guest is held.
        disks.remove(f".{request.disk}.new")
        source, target = (bin, disks) if request.undo else (disks, bin)
        if request.undo and not file_of(source, request.disk) and not file_of(target, request.disk):
            raise Failure("missing", f"the trash holds no disk {request.disk} of guest {request.guest}")
        _move(source, target, request.disk)


def _move(source: Folder, target: Folder, disk: str) -> None:
    found, there = file_of(source, disk), file_of(target, disk)
    if found and there:
        raise Failure("exists", f"{target.path} already holds a disk {disk}; nothing was moved")
    moving = [found[0]] if found else []
    for name in [*moving, f"{disk}.json"]:
        # The record may lag behind after a crash; what is already there stays.
        with suppress(FileNotFoundError):
            if not target.exists(name) or found:
                source.rename(name, target, name)
