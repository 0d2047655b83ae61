"""CreateDisk: a volume appears under its name when it is complete, never before.

thin: a sparse volume, or a clone of the image's snapshot. full: the pool reserves all of it, and it shares no blocks
with its image: a stream within the pool (zfs send | zfs receive), because that keeps holes and compressed blocks as
they are, is checked by its checksums, and needs no device nodes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ..guard import client as guard
from ..handlers import Context, Failure
from ..storage.sources import require_source
from ..vocabulary import CreateDisk
from . import layout, listing, names, nodes, removal, streams
from .listing import Entry, Tree
from .names import IMAGES, NEW
from .tool import patient_zfs, zfs

BLOCK = 16 << 10
"""volblocksize of new volumes for which none was asked, and of images, bytes: OpenZFS's own choice since 2.2; the 8 KiB
before that waste space on raidz."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a disk is a copy of. origin: the snapshot to clone. linked: whether it reads through to its image."""

    name: str
    volume: Entry
    origin: str
    image: str
    linked: bool


@dataclass(frozen=True, kw_only=True)
class _Order:
    """A disk to be made: its request, its dataset, the size that it will have, and what it is a copy of."""

    context: Context
    request: CreateDisk
    name: str
    size: int
    source: Source | None

    @property
    def marks(self) -> list[str]:
        found = [f"skep:disk={self.request.edition}"]
        found += [f"skep:image={self.source.image}"] if self.source and self.source.image else []
        return [word for mark in found for word in ("-o", mark)]


def create_disk(context: Context, request: CreateDisk) -> dict[str, bool]:
    _check(request)
    policy, progress = context.policy, context.progress
    with ExitStack() as stack:
        stack.enter_context(layout.held_guest(policy, request.guest, shared=True, progress=progress))
        stack.enter_context(layout.locked_disk(policy, request.guest, request.disk, progress))
        name = names.disk(policy, request.guest, request.disk)
        names.dataset(policy, names.GUESTS, request.guest, f"{request.disk}{NEW}")
        tree = layout.guest_tree(policy, request.guest, progress)
        source = stack.enter_context(_held_source(context, request))
        least = source.volume.size if source else 0
        size = whole_blocks(request.size or least, source.volume.block if source else request.block or BLOCK)
        order = _Order(context=context, request=request, name=name, size=size, source=source)
        made = not tree.get(name)
        if not made:
            _require_equal(order, tree)
        elif source and size < least:
            message = f"disk {request.disk} must have at least {least} bytes, the size of {source.name}"
            raise Failure("rejected", message)
        else:
            _make(order)
        nodes.await_node(name, progress)
        return {"made": made}


def whole_blocks(size: int, block: int) -> int:
    """Bytes, rounded up to what a volume can have."""
    return -(-size // block) * block


def _check(request: CreateDisk) -> None:
    if request.format != "zvol":
        raise Failure("unsupported", f"this host keeps disks as volumes of its pool: format must be zvol, or none, "
                      f"not {request.format}")  # fmt: skip
    require_source(request)


@contextmanager
def _held_source(context: Context, request: CreateDisk) -> Iterator[Source | None]:
    """What the disk is a copy of, held so that nobody removes or changes it: an image, a disk, or nothing."""
    if request.source_guest:
        with _held_disk(context, request.source_guest, request.disk) as source:
            yield source
    elif request.image and request.version:
        with layout.locked_image(
            context.policy, request.image, request.version, shared=True, progress=context.progress
        ):
            yield _image(context, request.image, request.version)
    else:
        yield None


def _image(context: Context, image: str, version: str) -> Source:
    name = names.image(context.policy, image, version)
    tree = listing.read(name, depth=1, progress=context.progress)
    sealed = names.sealed(context.policy, image, version)
    if not tree.get(sealed):
        raise Failure("missing", f"image {image}:{version} is not on this host; pull it first")
    reference = f"{image}:{version}"
    return Source(name=reference, volume=tree.entries[name], origin=sealed, image=reference, linked=True)


@contextmanager
def _held_disk(context: Context, guest: str, disk: str) -> Iterator[Source]:
    """A snapshot of another guest's disk. It goes when it is left, or later with the clone that was made of it."""
    policy = context.policy
    with layout.held_guest(policy, guest, progress=context.progress):
        if guard.is_running(policy, guest):
            raise Failure("busy", f"guest {guest} is running; stop it before its disk is cloned")
        entry = layout.disk_of(policy, guest, disk, layout.guest_tree(policy, guest))
        origin = f"{entry.name}@{names.COPY}{secrets.token_hex(6)}"
        zfs("snapshot", origin, progress=context.progress)
        try:
            whose = f"disk {disk} of guest {guest}"
            linked = is_linked(context, entry)
            yield Source(name=whose, volume=entry, origin=origin, image=entry.mark("image"), linked=linked)
        finally:
            zfs("destroy", "-d", origin)


def is_linked(context: Context, disk: Entry) -> bool:
    """Whether a disk reads through to an image, perhaps by way of the disks that it is a clone of."""
    top = context.policy.dataset
    seen = disk
    while seen.origin:
        origin = seen.origin.partition("@")[0]
        if origin.startswith(f"{top}/{IMAGES}/"):
            return True
        found = listing.read(origin, depth=0).get(origin)
        if found is None:
            return False
        seen = found
    return False


def _require_equal(order: _Order, tree: Tree) -> None:
    """A disk that is there must be the one that was asked for; its size, when the request says one."""
    request, there = order.request, tree.entries[order.name]
    right_size = there.size == order.size if request.size else there.size >= order.size
    image = order.source.image if order.source else ""
    if not layout.is_disk(there) or not right_size or (there.mark("disk"), there.mark("image")) != (
        request.edition, image,
    ):  # fmt: skip
        raise Failure(
            "exists",
            f"guest {request.guest} already has another disk {request.disk} ({there.kind}, {there.size} bytes, "
            f"{there.mark('disk') or 'not made by Skep'}, image {there.mark('image') or 'none'}); "
            f"remove it or choose another name",
        )


def _make(order: _Order) -> None:
    """In one command where that makes all of it; otherwise under another name first."""
    request, source = order.request, order.source
    progress = order.context.progress
    temporary = f"{order.name}{NEW}"
    removal.remove(order.context.policy, temporary, progress)
    if source is None:
        sparse = ["-s"] if request.edition == "thin" else []
        block = ["-o", f"volblocksize={request.block or BLOCK}"]
        zfs("create", *sparse, "-V", str(order.size), *block, *order.marks, order.name, progress=progress)
    elif request.edition == "thin" and order.size == source.volume.size:
        zfs("clone", *order.marks, source.origin, order.name, progress=progress)
    else:
        try:
            _fill(order, source, temporary)
            patient_zfs("rename", temporary, order.name, progress=progress)
        except BaseException:
            removal.remove(order.context.policy, temporary)
            raise


def _fill(order: _Order, source: Source, temporary: str) -> None:
    progress = order.context.progress
    if order.request.edition == "thin":
        zfs("clone", *order.marks, source.origin, temporary, progress=progress)
        zfs("set", f"volsize={order.size}", temporary, progress=progress)
        return
    _require_space(order)
    streams.copy(source.origin, temporary, order.marks, progress)
    if order.size > source.volume.size:
        zfs("set", f"volsize={order.size}", temporary, progress=progress)
    zfs("set", "refreservation=auto", temporary, progress=progress)


def _require_space(order: _Order) -> None:
    """Before hours of copying; the reservation has the last word."""
    top = order.context.policy.dataset
    free = listing.read(top, depth=0).entries[top].available
    if order.size > free:
        what = f"disk {order.request.disk} of guest {order.request.guest} (full)"
        raise Failure("full", f"{what} needs {order.size >> 20} MiB in the pool, {free >> 20} MiB are free")
