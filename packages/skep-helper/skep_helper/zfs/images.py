"""Images: written by skepd where nobody else sees it, sealed by a snapshot, then visible.

raw and iso go straight into a volume; qcow2 into a file, which becomes a volume when it is published; a ZFS stream
straight into `zfs receive`, in one request.
What an image is afterwards is its held snapshot: whoever still had the volume open for writing changes nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from ..handlers import Context, Failure
from ..paths import Folder
from ..policy import Policy
from ..storage import content, records
from ..storage.records import ImageRecord
from ..vocabulary import AbandonImage, OpenImageWriter, PublishImage, ReceiveImage, RemoveImage
from . import conversion, layout, listing, names, nodes, removal, transfer
from .creation import BLOCK, whole_blocks
from .listing import Entry, Tree
from .names import IMAGES, INCOMING, SEALED
from .tool import patient_zfs, zfs

_REQUEST = "request.json"
FILE = "image"
"""The file of an incoming qcow2 image, in a folder of the image's name."""


def open_writer(context: Context, request: OpenImageWriter) -> None:
    """The descriptor may also be read: what a broken download left must be verified again."""
    policy = context.policy
    what = f"image {request.image}:{request.version}"
    with layout.locked_image(policy, request.image, request.version):
        if published(policy, request.image, request.version):
            raise Failure("exists", f"{what} is already there; remove it first or publish another version")
        with _begun(policy, request, what) as folder:
            if request.format == "qcow2":
                descriptor = content.open_file(folder, FILE, request.size, what)
            else:
                descriptor = _open_volume(context, request, what)
            context.answer_descriptors.append(descriptor)


def _begun(policy: Policy, request: OpenImageWriter, what: str) -> Folder:
    """The folder beside an incoming image, which says what it is going to be."""
    wanted = ImageRecord(format=request.format, size=request.size)
    with layout.area_folder(policy, INCOMING) as incoming:
        folder = incoming.make(names.image_leaf(request.image, request.version))
    begun = records.read(folder, _REQUEST, ImageRecord)
    if begun is None:
        records.write(folder, _REQUEST, wanted)
    elif begun != wanted:
        folder.close()
        raise Failure(
            "conflict", f"{what} is being fetched as {begun.format} of {begun.size} bytes; abandon that first"
        )
    return folder


def _open_volume(context: Context, request: OpenImageWriter, what: str) -> int:
    policy = context.policy
    name = names.image(policy, request.image, request.version, INCOMING)
    tree = listing.read(policy.dataset, depth=2, progress=context.progress)
    if not tree.get(name):
        if request.size > (free := tree.entries[policy.dataset].available):
            raise Failure("full", f"{what} needs {request.size >> 20} MiB in the pool, {free >> 20} MiB are free")
        make_volume(name, request.format, request.size, context)
    return nodes.open_volume(name, os.O_RDWR, context.progress)


def make_volume(name: str, format: str, size: int, context: Context) -> None:
    """A sparse volume for an image of this many bytes."""
    marks = ("-o", f"skep:format={format}")
    words = ("-s", "-V", str(whole_blocks(size, BLOCK)), "-o", f"volblocksize={BLOCK}")
    zfs("create", *words, *marks, name, progress=context.progress)


def publish(context: Context, request: PublishImage) -> None:
    policy = context.policy
    what = f"image {request.image}:{request.version}"
    with layout.locked_image(policy, request.image, request.version, progress=context.progress):
        if _is_there(policy, request, request.format, what):
            _forget(policy, request.image, request.version)
            return
        with ExitStack() as stack:
            try:
                leaf = names.image_leaf(request.image, request.version)
                folder = stack.enter_context(layout.area_folder(policy, INCOMING, leaf))
            except FileNotFoundError:
                raise Failure("missing", f"nothing was written for {what}; open a writer first") from None
            name = names.image(policy, request.image, request.version, INCOMING)
            _inspect(context, request, folder, name, what)
            _seal(context, request, request.format, name)
        _forget(policy, request.image, request.version)


def receive(context: Context, request: ReceiveImage) -> None:
    policy, what = context.policy, f"image {request.image}:{request.version}"
    with layout.locked_image(policy, request.image, request.version, progress=context.progress):
        if _is_there(policy, request, "zfs", what):
            transfer.receive.drain(context, context.descriptors[0], request.size)
            return
        _forget(policy, request.image, request.version, context)
        name = names.image(policy, request.image, request.version, INCOMING)
        transfer.image.to_volume(context, request, name, what)
        _seal(context, request, "zfs", name)


def _is_there(policy: Policy, request: PublishImage | ReceiveImage, form: str, what: str) -> bool:
    """Raises Failure(exists) when another image has the name."""
    there = published(policy, request.image, request.version)
    if there and (there.mark("digest"), there.mark("format")) != (request.digest, form):
        raise Failure("exists", f"{what} is already there with another content; publish another version")
    return there is not None


def _inspect(context: Context, request: PublishImage, folder: Folder, name: str, what: str) -> None:
    """Refuse what is not of its format; a qcow2 file is made a volume here."""
    if request.format == "qcow2":
        conversion.to_volume(context, folder, FILE, name, what)
        return
    begun = records.read(folder, _REQUEST, ImageRecord)
    descriptor = nodes.open_volume(name, os.O_RDONLY, context.progress)
    try:
        content.inspect(descriptor, request.format, begun.size if begun else nodes.size_of(descriptor), what)
    finally:
        os.close(descriptor)


def _seal(context: Context, request: PublishImage | ReceiveImage, form: str, name: str) -> None:
    """The rename makes it visible; everything before may be done again."""
    progress = context.progress
    tree = listing.read(name, depth=1, progress=progress)
    sealed = f"{name}@{SEALED}"
    if old := tree.get(sealed):
        if old.holds:
            zfs("release", SEALED, sealed, progress=progress)
        patient_zfs("destroy", sealed, progress=progress)
    # What the kernel still holds back for the device gets into the snapshot.
    descriptor = nodes.open_volume(name, os.O_RDWR, progress)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    zfs("set", f"skep:format={form}", f"skep:digest={request.digest}", name, progress=progress)
    zfs("snapshot", sealed, progress=progress)
    zfs("hold", SEALED, sealed, progress=progress)
    target = names.image(context.policy, request.image, request.version)
    patient_zfs("rename", name, target, progress=progress)
    nodes.await_node(f"{target}@{SEALED}", progress)


def abandon(context: Context, request: AbandonImage) -> None:
    """Not while it is being published."""
    with layout.locked_image(context.policy, request.image, request.version):
        _forget(context.policy, request.image, request.version, context)


def _forget(policy: Policy, image: str, version: str, context: Context | None = None) -> None:
    """What there is of an incoming image."""
    name = names.image(policy, image, version, INCOMING)
    progress = context.progress if context else None
    sealed = listing.read(name, depth=1, progress=progress).get(f"{name}@{SEALED}")
    if sealed and sealed.holds:
        zfs("release", SEALED, sealed.name)
    removal.remove(policy, name, progress)
    with layout.area_folder(policy, INCOMING) as incoming:
        incoming.remove_tree(names.image_leaf(image, version))


def remove(context: Context, request: RemoveImage) -> None:
    policy = context.policy
    reference = f"{request.image}:{request.version}"
    with layout.locked_image(policy, request.image, request.version, progress=context.progress):
        name = names.image(policy, request.image, request.version)
        tree = listing.read(policy.dataset, progress=context.progress)
        volume, sealed = tree.get(name), tree.get(f"{name}@{SEALED}")
        if volume is None:
            return
        if not volume.mark("format"):
            raise Failure("conflict", f"{name} was not made by Skep: rename it (zfs rename {name} ...)")
        if used_by := sorted(_shown(policy, entry) for entry in users(policy, tree).get(name, ())):
            shown = ", ".join(used_by[:5]) + (" and more" if len(used_by) > 5 else "")
            raise Failure("conflict", f"image {reference} is the base of {shown}; remove those disks first")
        _require_free(tree, name)
        if sealed and sealed.holds:
            zfs("release", SEALED, sealed.name, progress=context.progress)
        try:
            removal.remove(policy, name, context.progress)
        except Failure:
            with suppress(Failure):
                zfs("hold", SEALED, f"{name}@{SEALED}")
            raise


def _require_free(tree: Tree, name: str) -> None:
    """Nobody but us holds one of its snapshots, a transfer for instance."""
    for snapshot in tree.snapshots(name):
        if snapshot.holds > (snapshot.leaf == SEALED):
            raise Failure(
                "conflict", f"{snapshot.name} is held: see zfs holds {snapshot.name}; try again when it is not"
            )


def users(policy: Policy, tree: Tree) -> dict[str, list[Entry]]:
    """Disks that read through to an image, by the image's volume; those in the trash too: they may come back.

    tree: of the policy's dataset.
    """
    found: dict[str, list[Entry]] = {}
    prefix = f"{policy.dataset}/{IMAGES}/"
    for entry in tree.datasets():
        if entry.kind != "volume" or not entry.mark("disk"):
            continue
        seen, origin = {entry.name}, entry.origin.partition("@")[0]
        while origin and not origin.startswith(prefix) and origin not in seen:
            seen.add(origin)
            below = tree.get(origin)
            origin = below.origin.partition("@")[0] if below else ""
        if origin.startswith(prefix):
            found.setdefault(origin, []).append(entry)
    return found


def _shown(policy: Policy, disk: Entry) -> str:
    parts = disk.name.removeprefix(f"{policy.dataset}/").split("/")
    if parts[0] == names.TRASH:
        return f"{parts[2].removesuffix(names.DISKS)}/{parts[-1]} (in the trash)"
    return "/".join(parts[1:])


def published(policy: Policy, image: str, version: str) -> Entry | None:
    """The volume of an image that is visible."""
    name = names.image(policy, image, version)
    tree = listing.read(name, depth=1)
    return tree.get(name) if is_published(tree, name) else None


def is_published(tree: Tree, name: str) -> bool:
    entry = tree.get(name)
    return bool(entry and entry.mark("digest") and tree.get(f"{name}@{SEALED}"))


def all_published(policy: Policy, tree: Tree) -> Iterator[tuple[str, str, Entry]]:
    """(name, version, volume) of every image. tree: of the policy's dataset."""
    for entry in tree.below(names.dataset(policy, IMAGES)):
        if entry.kind == "volume" and is_published(tree, entry.name):
            yield *names.image_of(entry.leaf), entry
