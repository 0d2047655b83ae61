"""The policy's dataset and what it holds: made at the start, found again under locks.

Locks are flock on files in the run folder: a file held open in a guest's own file system would keep it from being
moved. Under the guest's lock (exclusive for what concerns the guest as a whole, shared for work on one disk) nobody
else changes its datasets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from ..handlers import Failure
from ..paths import Folder, open_below, open_folder
from ..policy import Policy
from ..storage.locks import Progress, locked
from ..users import user_of
from . import listing, names
from .listing import Entry, Tree
from .names import GUESTS, IMAGES, INCOMING, TRASH
from .tool import zfs

VARS, TPM, ROLLBACK = "uefi-vars.fd", "tpm.state", "rollback.json"
_LOCKS = "locks"
_OPTIONS = {
    GUESTS: ("volmode=dev", "exec=off", "setuid=off"),
    # An image is read through its snapshot's device, which nobody can change.
    IMAGES: ("volmode=dev", "snapdev=visible", "exec=off", "setuid=off"),
    INCOMING: ("volmode=dev", "snapdev=visible", "exec=off", "setuid=off", "com.sun:auto-snapshot=false"),
    TRASH: ("volmode=dev", "exec=off", "setuid=off", "com.sun:auto-snapshot=false"),
}
"""Set once, here, and inherited: volmode set on a volume loses device nodes (seen on FreeBSD 13.2)."""


def prepare(policy: Policy) -> None:
    """Make the policy's dataset if its pool is there, and the four below it; repeatable. Raises Failure."""
    if not policy.dataset:
        raise Failure("unsupported", 'the policy names no dataset: write e.g. dataset = "tank/skep" into it')
    tree = listing.read(policy.dataset, depth=1)
    if not tree.get(policy.dataset):
        open_folder(policy.pool.parent, create=True).close()
        zfs("create", "-o", f"mountpoint={policy.pool}", "-o", "skep:area=pool", policy.dataset)
        tree = listing.read(policy.dataset, depth=1)
    _require_mounted(policy, tree.entries[policy.dataset])
    for area in names.AREAS:
        _prepare_area(policy, tree, area)
    group = user_of(policy)[1]
    with open_folder(policy.pool) as pool:
        pool.make(GUESTS, 0o750, group).close()
        for area in (IMAGES, INCOMING, TRASH):
            pool.make(area).close()
    with open_folder(policy.run, create=True) as run_folder:
        run_folder.make(_LOCKS).close()


def _require_mounted(policy: Policy, top: Entry) -> None:
    if top.kind != "filesystem":
        raise Failure("conflict", f"{top.name} is a {top.kind}; name a file system in the policy")
    if top.mountpoint != str(policy.pool):
        said = f"{top.name} has mountpoint {top.mountpoint}, the policy says pool = {policy.pool}"
        raise Failure("conflict", f"{said}: zfs set mountpoint={policy.pool} {top.name}, or mend the policy")
    if not top.mounted:
        zfs("mount", top.name)


def _prepare_area(policy: Policy, tree: Tree, area: str) -> None:
    name = names.dataset(policy, area)
    entry = tree.get(name)
    if entry is None:
        options = [word for option in (*_OPTIONS[area], f"skep:area={area}") for word in ("-o", option)]
        zfs("create", *options, name)
        return
    if entry.kind != "filesystem" or entry.mark("area") != area:
        raise Failure(
            "conflict", f"{name} was not made by Skep (it has no skep:area={area}): rename it, or name another"
        )
    if not entry.mounted:
        zfs("mount", name)


def area_folder(policy: Policy, area: str, *parts: str) -> Folder:
    """One of the four as a folder. Raises FileNotFoundError for parts that are not there."""
    return open_below(policy.pool, area, *parts)


# Locks


@contextmanager
def hold(
    policy: Policy, name: str, busy: str, *, shared: bool = False, progress: Progress | None = None
) -> Iterator[None]:
    """Hold the lock of this name; see storage.locks. Its file stays until the next boot."""
    with open_below(policy.run, _LOCKS) as folder:
        descriptor = folder.open(name, os.O_RDWR | os.O_CREAT)
    try:
        with locked(descriptor, busy, shared=shared, progress=progress):
            yield
    finally:
        os.close(descriptor)


@contextmanager
def locked_guest(
    policy: Policy, guest: str, *, shared: bool = False, progress: Progress | None = None
) -> Iterator[None]:
    """Nobody else changes the guest's datasets, whether it has any or not."""
    busy = f"guest {guest}: other work on its disks is under way; try again when it has ended"
    with hold(policy, f"guest.{guest}", busy, shared=shared, progress=progress):
        yield


@contextmanager
def locked_disk(policy: Policy, guest: str, disk: str, progress: Progress | None = None) -> Iterator[None]:
    """The only work on this disk; other disks of the guest may be worked on at the same time."""
    busy = f"disk {disk} of guest {guest}: other work on it is under way; try again when it has ended"
    with hold(policy, f"disk.{guest}.{disk}", busy, progress=progress):
        yield


@contextmanager
def locked_image(
    policy: Policy, image: str, version: str, *, shared: bool = False, progress: Progress | None = None
) -> Iterator[None]:
    """An image that is not removed while it is held (shared) or not used (exclusive)."""
    busy = f"image {image}:{version} is being used, published or removed; try again when that has ended"
    with hold(policy, f"image.{names.image_leaf(image, version)}", busy, shared=shared, progress=progress):
        yield


# Guests


@contextmanager
def held_guest(
    policy: Policy,
    guest: str,
    *,
    shared: bool = False,
    unfinished: bool = False,
    progress: Progress | None = None,
) -> Iterator[Folder]:
    """The guest's folder under its lock.

    Raises Failure: missing; busy; conflict when a rollback was interrupted and not finished (unless `unfinished`).
    """
    with locked_guest(policy, guest, shared=shared, progress=progress), guest_folder(policy, guest) as folder:
        if folder.exists(ROLLBACK) and not unfinished:
            raise Failure("conflict", f"guest {guest}: a rollback was interrupted; repeat it to finish it")
        yield folder


def guest_folder(policy: Policy, guest: str) -> Folder:
    """The guest's file system, mounted if it was not; raises Failure("missing")."""
    found = _mounted_folder(policy, guest)
    if found is None:
        try:
            zfs("mount", names.guest(policy, guest))
        except Failure as failure:
            if failure.code == "missing":
                message = f"guest {guest} has no folder on this host; create the guest first"
                raise Failure("missing", message) from None
            if "already mounted" not in failure.message:
                raise
        found = _mounted_folder(policy, guest)
    if found is None:
        raise Failure(
            "failed", f"{names.guest(policy, guest)} is not mounted at its place: zfs get mountpoint,canmount"
        )
    return found


def _mounted_folder(policy: Policy, guest: str) -> Folder | None:
    """None when there is nothing, or only the place where its file system would be mounted."""
    with ExitStack() as stack:
        guests = stack.enter_context(area_folder(policy, GUESTS))
        with suppress(FileNotFoundError):
            folder = guests.folder(guest)
            if is_mount(guests, folder):
                return folder
            folder.close()
    return None


def is_mount(parent: Folder, folder: Folder) -> bool:
    """Whether another file system begins here."""
    return os.fstat(parent.descriptor).st_dev != os.fstat(folder.descriptor).st_dev


def guest_tree(policy: Policy, guest: str, progress: Progress | None = None) -> Tree:
    """The guest's datasets and snapshots. Raises Failure: missing; conflict when they are not Skep's."""
    name = names.guest(policy, guest)
    tree = listing.read(name, progress=progress)
    top = tree.get(name)
    if top is None:
        raise Failure("missing", f"guest {guest} has no folder on this host; create the guest first")
    if not is_guest(top):
        raise Failure("conflict", f"{name} was not made by Skep: it has no skep:guest={guest}; choose another name")
    return tree


def is_guest(entry: Entry) -> bool:
    """Below a container, which has no such mark, it can only be its own."""
    return entry.kind == "filesystem" and bool(entry.mark("guest"))


def is_disk(entry: Entry) -> bool:
    """Whether it is a disk that is complete. Below a guest, which has no such mark, it can only be its own."""
    return entry.kind == "volume" and bool(entry.mark("disk")) and "." not in entry.leaf


def disks_of(policy: Policy, guest: str, tree: Tree) -> dict[str, Entry]:
    """The guest's disks by name."""
    return {entry.leaf: entry for entry in tree.below(names.guest(policy, guest)) if is_disk(entry)}


def disk_of(policy: Policy, guest: str, disk: str, tree: Tree) -> Entry:
    """Raises Failure("missing")."""
    entry = disks_of(policy, guest, tree).get(disk)
    if entry is None:
        raise Failure("missing", f"guest {guest} has no disk {disk}; create it first")
    return entry
