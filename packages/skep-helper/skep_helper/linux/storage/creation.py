"""CreateDisk: a disk appears under its name when it is complete and durable, never before."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass

from skep_helper.guard import client as guard
from skep_helper.handlers import Context, Failure
from skep_helper.paths import Folder
from skep_helper.storage import content, copying, qcow2, records, tool
from skep_helper.storage.records import DiskRecord
from skep_helper.storage.sources import require_source
from skep_helper.vocabulary import CreateDisk

from . import layout
from .disks import (
    OpenDisk,
    disks_folder,
    file_of,
    held_disk,
    open_image,
    opened,
    virtual_size,
    whole_sectors,
)


@dataclass(frozen=True, kw_only=True)
class _Order:
    """A disk to be made: its request with the size that it will have, in bytes, and what it is a copy of."""

    context: Context
    request: CreateDisk
    size: int
    record: DiskRecord
    source: OpenDisk | None

    def run(self, arguments: list[str], descriptors: tuple[int, ...], doing: str) -> None:
        what = f"{doing} disk {self.request.disk} of guest {self.request.guest}"
        tool.qemu_img(self.context.policy, arguments, descriptors, what, self.context.progress, self.size)


def create_disk(context: Context, request: CreateDisk) -> dict[str, bool]:
    _check(request)
    with ExitStack() as stack:
        folder = stack.enter_context(
            layout.held_guest(context.policy, request.guest, shared=True, progress=context.progress)
        )
        disks = stack.enter_context(disks_folder(folder))
        stack.enter_context(held_disk(context, disks, request.disk))
        source = _source(context, request, stack)
        record = DiskRecord(
            format=request.format,
            edition=request.edition,
            image=source.record.image if source else "",
            linked=_linked(request, source),
        )
        least = source.size() if source else 0
        size = whole_sectors(request.size or least)
        order = _Order(context=context, request=request, size=size, record=record, source=source)
        if file_of(disks, request.disk):
            _require_equal(order, disks)
            return {"made": False}
        if source and order.size < least:
            message = f"disk {request.disk} must have at least {least} bytes, the size of {source.name}"
            raise Failure("rejected", message)
        _make(order, disks)
        return {"made": True}


def _check(request: CreateDisk) -> None:
    if request.format == "zvol":
        raise Failure("unsupported", "this host keeps disks as files: format must be qcow2 or raw")
    require_source(request)


def _source(context: Context, request: CreateDisk, stack: ExitStack) -> OpenDisk | None:
    """What the disk is a copy of, held so that nobody removes or changes it: an image, a disk, or nothing."""
    policy = context.policy
    if request.source_guest:
        folder = stack.enter_context(layout.held_guest(policy, request.source_guest, progress=context.progress))
        if guard.is_running(policy, request.source_guest):
            raise Failure("busy", f"guest {request.source_guest} is running; stop it before its disk is cloned")
        disks = stack.enter_context(disks_folder(folder))
        return stack.enter_context(opened(policy, disks, request.disk))
    if request.image and request.version:
        stack.enter_context(layout.held_image(policy, request.image, request.version))
        reference = f"{request.image}:{request.version}"
        format, descriptor = open_image(policy, reference)
        stack.callback(os.close, descriptor)
        record = DiskRecord(format=format, edition="thin", image=reference)
        return OpenDisk(name=reference, format=format, descriptor=descriptor, record=record)
    return None


def _linked(request: CreateDisk, source: OpenDisk | None) -> bool:
    if source is None or request.edition == "full" or request.format != "qcow2":
        return False
    if request.source_guest:
        # Only a copy of the file stays linked; from raw to qcow2 everything is copied.
        return source.record.linked
    return True


def _require_equal(order: _Order, disks: Folder) -> None:
    """A disk that is there must be the one that was asked for; its size, when the request says one."""
    request = order.request
    with opened(order.context.policy, disks, request.disk) as disk:
        size = disk.size()
        right_size = size == order.size if request.size else size >= order.size
        if disk.record != order.record or disk.format != request.format or not right_size:
            raise Failure(
                "exists",
                f"guest {request.guest} already has another disk {request.disk} ({disk.format}, {size} bytes, "
                f"{disk.record.edition}, image {disk.record.image or 'none'}); remove it or choose another name",
            )


def _make(order: _Order, disks: Folder) -> None:
    request = order.request
    temporary = f".{request.disk}.new"
    disks.remove(temporary, durable=False)
    descriptor = disks.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        tool.lend(order.context.policy, descriptor)
        if request.edition == "full":
            content.require_space(descriptor, order.size, f"disk {request.disk} of guest {request.guest} (full)")
        _fill(order, descriptor)
        os.fsync(descriptor)
        records.write(disks, f"{request.disk}.json", order.record, durable=False)  # before the disk, as is its name
        disks.rename(temporary, disks, f"{request.disk}.{request.format}")
    except BaseException:
        disks.remove(temporary)
        raise
    finally:
        os.close(descriptor)


def _fill(order: _Order, target: int) -> None:
    request, source = order.request, order.source
    if source and request.edition == "thin" and source.format == request.format == "raw":
        copying.copy_sparse(source.descriptor, target, order.context.progress)
        os.ftruncate(target, order.size)
    elif source and request.edition == "thin" and source.format == request.format and request.source_guest:
        _clone(order, target, source)
    elif source and order.record.linked:
        _link(order, target, source)
    else:
        _blank(order, target)
        if source:
            _convert(order, target, source)


def _clone(order: _Order, target: int, source: OpenDisk) -> None:
    """The file as it is, with what it is linked to, but without the snapshots that belong to its guest."""
    copying.copy_sparse(source.descriptor, target, order.context.progress)
    node = tool.node("qcow2", target, source.base)
    held = (target, *source.descriptors[1:])
    for snapshot in qcow2.read_snapshots(target):
        order.run(["snapshot", "-d", snapshot.name, node], held, "cloning")
    if order.size > virtual_size("qcow2", target, source.name):
        order.run(["resize", node, str(order.size)], held, "growing")


def _link(order: _Order, target: int, source: OpenDisk) -> None:
    name, _, version = order.record.image.partition(":")
    with layout.image_folder(order.context.policy, name, version) as folder:
        base = folder.shown(layout.IMAGE)
    qcow2.write_empty(target, order.size, (base, source.format))


def _blank(order: _Order, target: int) -> None:
    full = order.request.edition == "full"
    if order.request.format == "raw":
        os.ftruncate(target, order.size)
        if full:
            os.posix_fallocate(target, 0, order.size)
        return
    if not full:
        qcow2.write_empty(target, order.size)
        return
    arguments = ["create", "-q", "-f", "qcow2", "-o", "preallocation=falloc"]
    order.run([*arguments, f"/dev/fd/{target}", str(order.size)], (target,), "making")


def _convert(order: _Order, target: int, source: OpenDisk) -> None:
    arguments = ["convert", "-p", "-n", "--target-is-zero", source.node]
    arguments += ["--target-image-opts", tool.target_options(order.request.format, target)]
    order.run(arguments, (target, *source.descriptors), f"copying {source.name} to")
