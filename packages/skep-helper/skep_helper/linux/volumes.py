"""What guests need of storage on OpenZFS, for QEMU: volumes are raw block devices; see guests_sources."""

from __future__ import annotations

import os
from typing import NoReturn

from ..handlers import Failure
from ..paths import Folder
from ..policy import Policy
from ..zfs import names, nodes, sources
from ..zfs.sources import guest_folder as guest_folder
from ..zfs.sources import held_guest as held_guest
from .qemu.command import Source

_VOLUME = Source("raw", device=True)


def disk(policy: Policy, folder: Folder, disk: str) -> Source:
    return _VOLUME


def image(policy: Policy, image: str, version: str) -> Source:
    return _VOLUME


def open_disk(policy: Policy, folder: Folder, disk: str) -> tuple[int, str]:
    guest = os.path.basename(folder.path)
    return sources.open_disk(policy, guest, disk), nodes.path(names.disk(policy, guest, disk))


def open_base(policy: Policy, folder: Folder, disk: str) -> NoReturn:
    raise Failure("failed", f"disk {disk} is a volume; there is nothing beneath it that a guest would open")


def open_image(policy: Policy, image: str, version: str) -> tuple[int, str]:
    return sources.open_image(policy, image, version), nodes.path(names.sealed(policy, image, version))
