"""Guests' file systems and the trash, which keeps what a plan may still have to bring back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from .. import log
from ..guard import client as guard
from ..handlers import Context, Failure
from ..policy import Policy
from ..storage.definition import make_definition
from ..storage.locks import Progress, no_progress
from ..users import user_of
from ..vocabulary import CreateGuestFolder, EmptyTrash, TrashGuestFolder, UntrashGuestFolder
from . import layout, listing, names, removal
from .identity import host_id
from .listing import Tree
from .names import DISKS, DOOMED, GUESTS, NEW, TRASH
from .tool import patient_zfs, zfs


def create(context: Context, request: CreateGuestFolder) -> dict[str, bool]:
    policy, guest = context.policy, request.guest
    name = names.guest(policy, guest)
    with layout.locked_guest(policy, guest, progress=context.progress):
        made = not listing.read(name, depth=0).get(name)
        if made:
            marks = (f"skep:guest={guest}", f"skep:host={host_id()}")
            zfs("create", *(word for mark in marks for word in ("-o", mark)), name, progress=context.progress)
        layout.guest_tree(policy, guest)
        with layout.guest_folder(policy, guest) as folder:
            os.fchown(folder.descriptor, -1, user_of(policy)[1])
            os.fchmod(folder.descriptor, 0o750)
            make_definition(policy, folder)
            folder.sync()
    return {"made": made}


def trash_folder(context: Context, request: TrashGuestFolder) -> None:
    policy, guest = context.policy, request.guest
    with layout.locked_guest(policy, guest, progress=context.progress):
        source, target = names.guest(policy, guest), names.dataset(policy, TRASH, request.key, guest)
        if not listing.read(source, depth=0).get(source):
            return
        if guard.is_running(policy, guest):
            raise Failure("busy", f"guest {guest} is running; stop it before it is removed")
        removal.require_ours(policy, layout.guest_tree(policy, guest))
        if _bin(policy, request.key).get(target):
            raise Failure("exists", f"the trash already holds a guest {guest} under {request.key}")
        with bin_of(policy, request.key, progress=context.progress):
            patient_zfs("rename", source, target, progress=context.progress)


def untrash_folder(context: Context, request: UntrashGuestFolder) -> None:
    policy, guest = context.policy, request.guest
    with layout.locked_guest(policy, guest, progress=context.progress):
        source, target = names.dataset(policy, TRASH, request.key, guest), names.guest(policy, guest)
        there = listing.read(target, depth=0).get(target)
        if not _bin(policy, request.key).get(source):
            if not there:
                raise Failure("missing", f"the trash holds no guest {guest} under {request.key}")
        elif there:
            raise Failure("exists", f"there is another guest {guest} now; remove or rename it first")
        else:
            patient_zfs("rename", source, target, progress=context.progress)
        prune(policy, request.key, context.progress)


def empty_trash(context: Context, request: EmptyTrash) -> None:
    """Moved aside first, so that what is half removed is never brought back."""
    policy = context.policy
    doomed = names.dataset(policy, TRASH, f"{request.key}{DOOMED}")
    removal.remove(policy, doomed, context.progress)
    tree = _bin(policy, request.key)
    name = names.dataset(policy, TRASH, request.key)
    if tree.get(name):
        removal.require_ours(policy, tree, snapshots=True)
        patient_zfs("rename", name, doomed, progress=context.progress)
        removal.remove(policy, doomed, context.progress)


# The trash


@contextmanager
def bin_of(policy: Policy, key: str, guest: str = "", progress: Progress | None = None) -> Iterator[None]:
    """The dataset of a key, and the one for single disks of a guest, made if need be; not pruned meanwhile."""
    with _locked_bin(policy, key, progress):
        for parts in ((key,), (key, f"{guest}{DISKS}")) if guest else ((key,),):
            try:
                zfs("create", "-o", "canmount=off", "-o", "skep:area=key", names.dataset(policy, TRASH, *parts))
            except Failure as failure:
                if failure.code != "exists":
                    raise
        yield


def _locked_bin(policy: Policy, key: str, progress: Progress | None) -> AbstractContextManager[None]:
    busy = f"other work on what lies in the trash under {key} is under way; try again when it has ended"
    return layout.hold(policy, f"trash.{key}", busy, progress=progress)


def keys(policy: Policy, tree: Tree) -> tuple[str, ...]:
    """Keys under which something lies. tree: of the policy's dataset."""
    found = []
    for key in tree.below(names.dataset(policy, TRASH)):
        if key.mark("area") == "key" and not key.leaf.endswith(DOOMED):
            holds = (not entry.leaf.endswith(DISKS) or any(tree.below(entry.name)) for entry in tree.below(key.name))
            if any(holds):
                found.append(key.leaf)
    return tuple(sorted(found))


def prune(policy: Policy, key: str, progress: Progress | None = None) -> None:
    """Remove the datasets of a key that hold nothing."""
    with _locked_bin(policy, key, progress):
        tree = _bin(policy, key)
        name = names.dataset(policy, TRASH, key)
        below = list(tree.below(name))
        empty = [entry.name for entry in below if entry.leaf.endswith(DISKS) and not any(tree.below(entry.name))]
        if tree.get(name) and len(empty) == len(below):
            empty.append(name)
        for dataset in empty:
            patient_zfs("destroy", dataset)


def _bin(policy: Policy, key: str) -> Tree:
    return listing.read(names.dataset(policy, TRASH, key))


# At start


def sweep(policy: Policy) -> None:
    """Remove what was half made or half removed when the helper died, and keys of the trash that hold nothing."""
    tree = listing.read(policy.dataset)
    for entry in list(tree.datasets()):
        area, _, rest = entry.name.removeprefix(f"{policy.dataset}/").partition("/")
        if area == GUESTS and entry.kind == "volume" and entry.leaf.endswith(NEW) and entry.mark("disk"):
            _quietly(policy, entry.name, rest.partition("/")[0])
        elif area == TRASH and rest.endswith(DOOMED) and "/" not in rest:
            _quietly(policy, entry.name)
    for snapshot in list(tree.snapshots()):
        if snapshot.leaf.startswith(names.COPY):
            with suppress(Failure):  # its clone keeps it until it goes itself
                zfs("destroy", "-d", snapshot.name)


def prune_all(policy: Policy) -> None:
    """Before the first request: keys that a helper left empty when it died."""
    tree = listing.read(policy.dataset, depth=4)
    known = set(keys(policy, tree))
    for key in tree.below(names.dataset(policy, TRASH)):
        if key.mark("area") == "key" and key.leaf not in known and not key.leaf.endswith(DOOMED):
            prune(policy, key.leaf)


def _quietly(policy: Policy, name: str, guest: str = "") -> None:
    try:
        if guest:
            with layout.locked_guest(policy, guest, progress=no_progress):
                removal.remove(policy, name)
        else:
            removal.remove(policy, name)
    except Failure as error:
        log.line("unswept", dataset=name, reason=error)
