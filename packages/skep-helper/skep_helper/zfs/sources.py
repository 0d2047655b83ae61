"""What guests need of the storage: their folders, and their disks and media as devices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..handlers import Failure
from ..paths import Folder
from ..policy import Policy
from . import layout, listing, names, nodes
from .identity import host_id
from .layout import ROLLBACK
from .layout import guest_folder as guest_folder
from .names import SEALED


@contextmanager
def held_guest(policy: Policy, guest: str) -> Iterator[Folder]:
    """The guest's folder, with its disks held still. Raises Failure: busy, also while a rollback is under way;
    conflict for a replica, or a guest that came with its disks: the host that may run it must be this one."""
    with layout.locked_guest(policy, guest, shared=True), guest_folder(policy, guest) as folder:
        name = names.guest(policy, guest)
        entry = listing.read(name, depth=0).get(name)
        if entry is not None and entry.mark("host") != host_id():
            raise Failure("conflict", f"guest {guest} is a replica on this host: promote it before it is started")
        if folder.exists(ROLLBACK):
            raise Failure("busy", f"guest {guest}: a rollback of its disks is under way; finish it first")
        yield folder


def disk_path(policy: Policy, guest: str, disk: str) -> str:
    """The device of a disk, once it is there."""
    os.close(open_disk(policy, guest, disk, os.O_RDONLY))
    return nodes.path(names.disk(policy, guest, disk))


def image_path(policy: Policy, image: str, version: str) -> str:
    """The device of a published image, which nobody can write."""
    os.close(open_image(policy, image, version))
    return nodes.path(names.sealed(policy, image, version))


def open_disk(policy: Policy, guest: str, disk: str, flags: int = os.O_RDWR) -> int:
    """A descriptor of a disk. Raises Failure(missing)."""
    name = names.disk(policy, guest, disk)
    entry = listing.read(name, depth=0).get(name)
    if entry is None or not layout.is_disk(entry):
        raise Failure("missing", f"disk {disk} of guest {guest} is not there; create it first")
    return nodes.open_volume(name, flags)


def open_image(policy: Policy, image: str, version: str) -> int:
    """A descriptor of a published image, for reading. Raises Failure(missing)."""
    name = names.image(policy, image, version)
    entry = listing.read(f"{name}@{SEALED}", depth=0).get(f"{name}@{SEALED}")
    if entry is None:
        raise Failure("missing", f"image {image}:{version} is not on this host; pull it first")
    return nodes.open_volume(entry.name)
