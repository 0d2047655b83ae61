"""Where things lie in a pool of files.

    pool/guests/NAME/              root:skep 0750
        definition/                skepd's own; root opens nothing in it
        disks/NAME.qcow2|.raw      root:tool 0660 (storage.tool) in a folder 0700: VMMs get open descriptors
        disks/NAME.json            what the disk was made from (records.DiskRecord)
        uefi-vars.fd               root 0600
        seed.iso seed.json         NoCloud volume and its digest
        snapshots/NAME/            uefi-vars.fd and record.json, whose presence makes the snapshot exist
        rollback.json              only while a rollback is under way
    pool/images/NAME/VERSION/      image (root:tool 0440) and record.json
    pool/incoming/NAME@VERSION/    image and record.json, until it is published
    pool/trash/KEY/                guests/NAME, disks/GUEST/NAME.*

Locks are flock on the things themselves, so that they end with the process that holds them: the guest's folder
(exclusive for what concerns the guest as a whole, shared for work on one disk), the image's folder; for one disk there
is a lock file, `.NAME.lock`, removed by whoever holds it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from skep_helper.handlers import Context, Failure
from skep_helper.paths import Folder, open_below, open_folder
from skep_helper.policy import Policy
from skep_helper.storage.locks import locked
from skep_helper.storage.seed import SEED as SEED
from skep_helper.users import user_of

GUESTS, IMAGES, INCOMING, TRASH = "guests", "images", "incoming", "trash"
DISKS, SNAPSHOTS = "disks", "snapshots"
VARS, RECORD, IMAGE = "uefi-vars.fd", "record.json", "image"
ROLLBACK = "rollback.json"
TPM = "tpm.state"
"""The state of the guest's TPM, written by its swtpm; there once the guest had one."""


def prepare(policy: Policy) -> None:
    """Make the pool's folders and the run folder; repeatable."""
    group = user_of(policy)[1]
    with open_folder(policy.pool, create=True) as pool:
        pool.make(GUESTS, 0o750, group).close()
        for name in (IMAGES, INCOMING, TRASH):
            pool.make(name).close()
    open_folder(policy.run, create=True).close()


def pool_folder(policy: Policy, *parts: str) -> Folder:
    """A folder of the pool that must be there; raises FileNotFoundError."""
    return open_below(policy.pool, *parts)


def guest_folder(policy: Policy, guest: str) -> Folder:
    """The guest's folder; raises Failure("missing")."""
    try:
        return pool_folder(policy, GUESTS, guest)
    except FileNotFoundError:
        raise Failure("missing", f"guest {guest} has no folder on this host; create the guest first") from None


def image_folder(policy: Policy, image: str, version: str) -> Folder:
    """The folder of a published image; raises Failure("missing")."""
    try:
        return pool_folder(policy, IMAGES, image, version)
    except FileNotFoundError:
        raise Failure("missing", f"image {image}:{version} is not on this host; pull it first") from None


@contextmanager
def held_guest(
    policy: Policy,
    guest: str,
    *,
    shared: bool = False,
    unfinished: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Folder]:
    """The guest's folder under its lock; everything that needs the guest's disks to hold still works inside it.

    Raises Failure: missing; busy; conflict when a rollback was interrupted and not finished (unless `unfinished`).
    """
    with guest_folder(policy, guest) as folder:
        busy = f"guest {guest}: other work on its disks is under way; try again when it has ended"
        with locked(folder.descriptor, busy, shared=shared, progress=progress):
            require_same(folder, f"guest {guest} was removed meanwhile")
            if folder.exists(ROLLBACK) and not unfinished:
                raise Failure("conflict", f"guest {guest}: a rollback was interrupted; repeat it to finish it")
            yield folder


def shared_guest(context: Context, guest: str) -> AbstractContextManager[Folder]:
    """held_guest for work beside other work on it."""
    return held_guest(context.policy, guest, shared=True, progress=context.progress)


@contextmanager
def held_image(policy: Policy, image: str, version: str, *, shared: bool = True) -> Iterator[Folder]:
    """A published image that is not removed while it is held (shared) or not used (exclusive)."""
    with image_folder(policy, image, version) as folder:
        busy = f"image {image}:{version} is being used or removed; try again when that has ended"
        with locked(folder.descriptor, busy, shared=shared):
            require_same(folder, f"image {image}:{version} was removed meanwhile")
            yield folder


def require_same(folder: Folder, gone: str, code: str = "missing") -> None:
    """Raise this Failure when the folder was moved away before the lock was ours."""
    try:
        named, held = os.stat(folder.path, follow_symlinks=False), os.fstat(folder.descriptor)
    except FileNotFoundError:
        raise Failure(code, gone) from None
    if (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino):
        raise Failure(code, gone)
