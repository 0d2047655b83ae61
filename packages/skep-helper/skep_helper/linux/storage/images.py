"""Images: written by skepd into a file that nobody else sees, inspected, sealed, then visible and read-only."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from skep_helper.handlers import Context, Failure
from skep_helper.paths import Folder
from skep_helper.policy import Policy
from skep_helper.storage import content, locks, records, tool
from skep_helper.storage.records import DiskRecord, ImageRecord
from skep_helper.vocabulary import AbandonImage, OpenImageWriter, PublishImage, RemoveImage

from . import layout

_REQUEST = "request.json"


def open_writer(context: Context, request: OpenImageWriter) -> None:
    """The descriptor may also be read: what a broken download left must be verified again."""
    what = f"image {request.image}:{request.version}"
    wanted = ImageRecord(format=request.format, size=request.size)
    with ExitStack() as stack:
        _require_unpublished(context.policy, request, what)
        incoming = stack.enter_context(layout.pool_folder(context.policy, layout.INCOMING))
        name = _incoming(request.image, request.version)
        folder = stack.enter_context(incoming.make(name))
        stack.enter_context(_held(folder, what))
        try:
            # Again: it may have been published before the folder was made, which is then nobody's.
            _require_unpublished(context.policy, request, what)
        except Failure:
            incoming.remove_tree(name)
            raise
        begun = records.read(folder, _REQUEST, ImageRecord)
        if begun is None:
            records.write(folder, _REQUEST, wanted)
        elif begun != wanted:
            raise Failure(
                "conflict",
                f"{what} is being fetched as {begun.format} of {begun.size} bytes; abandon that first",
            )
        context.answer_descriptors.append(content.open_file(folder, layout.IMAGE, request.size, what))


def _require_unpublished(policy: Policy, request: OpenImageWriter, what: str) -> None:
    if _published(policy, request.image, request.version):
        raise Failure("exists", f"{what} is already there; remove it first or publish another version")


def publish(context: Context, request: PublishImage) -> None:
    """The caller must have closed its descriptor: an image that somebody can still write is not published."""
    what = f"image {request.image}:{request.version}"
    with ExitStack() as stack:
        incoming = stack.enter_context(layout.pool_folder(context.policy, layout.INCOMING))
        name = _incoming(request.image, request.version)
        if _is_done(context.policy, request, what):
            incoming.remove_tree(name)
            return
        try:
            folder = stack.enter_context(incoming.folder(name))
        except FileNotFoundError:
            raise Failure("missing", f"nothing was written for {what}; open a writer first") from None
        stack.enter_context(_held(folder, what))
        if _is_done(context.policy, request, what):
            # By somebody else, before the folder was ours: it is a new one of this name.
            incoming.remove_tree(name)
            return
        size = _seal(context, folder, request.format, what)
        record = ImageRecord(format=request.format, size=size, digest=request.digest)
        records.write(folder, layout.RECORD, record)
        folder.remove(_REQUEST)
        images = stack.enter_context(layout.pool_folder(context.policy, layout.IMAGES))
        target = stack.enter_context(images.make(request.image))
        incoming.rename(name, target, request.version)


def _is_done(policy: Policy, request: PublishImage, what: str) -> bool:
    """Whether it is published already. Raises Failure("exists") for another content."""
    published = _published(policy, request.image, request.version)
    if published and (published.digest, published.format) != (request.digest, request.format):
        raise Failure("exists", f"{what} is already there with another content; publish another version")
    return published is not None


def _seal(context: Context, folder: Folder, format: str, what: str) -> int:
    """From here on nobody can write the file; then it is inspected. Returns its virtual size in bytes."""
    descriptor = content.open_sealed(folder, layout.IMAGE, what, context.progress)
    try:
        tool.lend(context.policy, descriptor, 0o440)
        size = content.inspect(descriptor, format, os.fstat(descriptor).st_size, what)
        os.fsync(descriptor)
        return size
    finally:
        os.close(descriptor)


def abandon(context: Context, request: AbandonImage) -> None:
    """Not while it is being published: what is published is then what was inspected, and not a new one in its
    place that somebody has open for writing."""
    name = _incoming(request.image, request.version)
    with ExitStack() as stack:
        incoming = stack.enter_context(layout.pool_folder(context.policy, layout.INCOMING))
        with suppress(FileNotFoundError):
            folder = stack.enter_context(incoming.folder(name))
            stack.enter_context(_held(folder, f"image {request.image}:{request.version}"))
        incoming.remove_tree(name)


def remove(context: Context, request: RemoveImage) -> None:
    policy = context.policy
    reference = f"{request.image}:{request.version}"
    with ExitStack() as stack:
        images = stack.enter_context(layout.pool_folder(policy, layout.IMAGES))
        try:
            folder = stack.enter_context(images.folder(request.image))
        except FileNotFoundError:
            return
        doomed = f".{request.version}.doomed"
        folder.remove_tree(doomed)
        if folder.exists(request.version):
            stack.enter_context(layout.held_image(policy, request.image, request.version, shared=False))
            if used_by := _users(policy, reference):
                names = ", ".join(used_by[:5]) + (" and more" if len(used_by) > 5 else "")
                raise Failure("conflict", f"image {reference} is the base of {names}; remove those disks first")
            folder.rename(request.version, folder, doomed)
            folder.remove_tree(doomed)
        # Another version may have appeared meanwhile.
        with suppress(OSError):
            os.rmdir(request.image, dir_fd=images.descriptor)


def published(policy: Policy) -> Iterator[tuple[str, str, ImageRecord]]:
    """(name, version, record) of every image."""
    with layout.pool_folder(policy, layout.IMAGES) as images:
        for name in images.names():
            with suppress(FileNotFoundError), images.folder(name) as versions:
                for version in versions.names():
                    record = None if version.startswith(".") else _record(versions, version)
                    if record:
                        yield name, version, record


def _record(versions: Folder, version: str) -> ImageRecord | None:
    with suppress(FileNotFoundError), versions.folder(version) as folder:
        return records.read(folder, layout.RECORD, ImageRecord)
    return None


def _published(policy: Policy, image: str, version: str) -> ImageRecord | None:
    with suppress(FileNotFoundError), layout.pool_folder(policy, layout.IMAGES, image) as versions:
        return _record(versions, version)
    return None


def _incoming(image: str, version: str) -> str:
    return f"{image}@{version}"


@contextmanager
def _held(folder: Folder, what: str) -> Iterator[None]:
    """A folder of what is coming in. It may have been published before the lock was ours: whoever wrote into it then
    would write a published image."""
    with locks.locked(folder.descriptor, f"{what} is being published; try again when that has ended"):
        layout.require_same(folder, f"{what} was published or abandoned just now; try again", "busy")
        yield


def _users(policy: Policy, reference: str) -> list[str]:
    """Disks that are linked to an image, those in the trash too: they may come back.

    The trash is read before and after the guests, so that a disk on its way between them is seen.
    """
    found: Counter[str] = Counter()
    for place in (_trashed_disks, _live_disks, _trashed_disks):
        for owner, disk, record in place(policy):
            if record.linked and record.image == reference:
                found[f"{owner}/{disk}"] += 1
    return sorted(found)


def _live_disks(policy: Policy) -> Iterator[tuple[str, str, DiskRecord]]:
    with layout.pool_folder(policy, layout.GUESTS) as guests:
        for guest in guests.names():
            with suppress(FileNotFoundError), guests.folder(guest) as folder, folder.folder(layout.DISKS) as disks:
                yield from _records(guest, disks)


def _trashed_disks(policy: Policy) -> Iterator[tuple[str, str, DiskRecord]]:
    with layout.pool_folder(policy, layout.TRASH) as trash:
        for key in trash.names():
            with suppress(FileNotFoundError), trash.folder(key) as bin:
                yield from _trashed_under(bin)


def _trashed_under(bin: Folder) -> Iterator[tuple[str, str, DiskRecord]]:
    with suppress(FileNotFoundError), bin.folder(layout.GUESTS) as guests:
        for guest in guests.names():
            with suppress(FileNotFoundError), guests.folder(guest) as folder, folder.folder(layout.DISKS) as disks:
                yield from _records(f"{guest} (in the trash)", disks)
    with suppress(FileNotFoundError), bin.folder(layout.DISKS) as owners:
        for owner in owners.names():
            with suppress(FileNotFoundError), owners.folder(owner) as disks:
                yield from _records(f"{owner} (in the trash)", disks)


def _records(owner: str, disks: Folder) -> Iterator[tuple[str, str, DiskRecord]]:
    for name in disks.names():
        stem, _, suffix = name.rpartition(".")
        if suffix == "json" and not name.startswith("."):
            record = records.read(disks, name, DiskRecord)
            if record:
                yield owner, stem, record
