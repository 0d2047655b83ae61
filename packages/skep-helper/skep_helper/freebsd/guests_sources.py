"""What guests need of the storage and the network of this platform: one place, so that tests can stand in for both."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from typing import Protocol, cast

from ..handlers import Failure
from ..paths import Folder
from ..policy import Policy

VARS, SEED = "uefi-vars.fd", "seed.iso"
"""In the guest's folder: its UEFI variables, its NoCloud volume."""
STORAGE = "skep_helper.freebsd.storage.sources"


class Storage(Protocol):
    """The module STORAGE. All raise Failure(missing) for what is not there."""

    def guest_folder(self, policy: Policy, guest: str) -> AbstractContextManager[Folder]:
        """The guest's folder: the mounted file system of its dataset."""
        ...

    def held_guest(self, policy: Policy, guest: str) -> AbstractContextManager[Folder]:
        """The same, with its disks held still meanwhile. Raises Failure(busy), also while a rollback is under way."""
        ...

    def disk_path(self, policy: Policy, guest: str, disk: str) -> str:
        """The device of a disk (/dev/zvol/...), once it is there."""
        ...

    def image_path(self, policy: Policy, image: str, version: str) -> str:
        """A published image as a file or device, to be read."""
        ...


def storage() -> Storage:
    return cast(Storage, importlib.import_module(STORAGE))


def tap_device(policy: Policy, port: str) -> str:
    """What a port's tap is called in /dev. Raises Failure(missing)."""
    from .network.records import Records

    record = Records(policy).port(port)
    if record is None or not record.done or not record.device:
        raise Failure("missing", f"port {port} is not on this host: apply it first")
    return record.device
