"""What guests need of the storage on Linux, which is on files or on OpenZFS as the policy says."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from typing import Protocol, cast

from ..paths import Folder
from ..policy import Policy
from .qemu.command import Source

VARS, TPM, SEED = "uefi-vars.fd", "tpm.state", "seed.iso"
"""In the guest's folder: its UEFI variables, the state of its TPM, its NoCloud volume."""
FILES, VOLUMES = "skep_helper.linux.storage.sources", "skep_helper.linux.volumes"


class Storage(Protocol):
    """One of the modules FILES and VOLUMES. What is opened comes with the path it has. All raise Failure(missing)."""

    def guest_folder(self, policy: Policy, guest: str) -> Folder: ...

    def held_guest(self, policy: Policy, guest: str) -> AbstractContextManager[Folder]:
        """The guest's folder, with its disks held still. Raises Failure(busy), also while a rollback is under way."""
        ...

    def disk(self, policy: Policy, folder: Folder, disk: str) -> Source:
        """What a disk is, as recorded when it was made; what it says of itself counts nothing."""
        ...

    def image(self, policy: Policy, image: str, version: str) -> Source: ...

    def open_disk(self, policy: Policy, folder: Folder, disk: str) -> tuple[int, str]: ...

    def open_base(self, policy: Policy, folder: Folder, disk: str) -> tuple[int, str]:
        """The image beneath a disk whose Source has a base."""
        ...

    def open_image(self, policy: Policy, image: str, version: str) -> tuple[int, str]:
        """For reading."""
        ...


def storage(policy: Policy) -> Storage:
    return cast(Storage, importlib.import_module(VOLUMES if policy.dataset else FILES))


def guest_folder(policy: Policy, guest: str) -> Folder:
    return storage(policy).guest_folder(policy, guest)
