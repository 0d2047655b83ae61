"""The Linux platform: storage on files or OpenZFS, guests under QEMU, networks in namespaces."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ..policy import Policy

NAME = "linux"
DRIVER = "skep_helper.linux.qemu.driver"
PLACES = {"pool": "/var/lib/skep/pool", "run": "/run/skep", "log": "/var/log/skep"}
_STORAGE, _ZFS = "skep_helper.linux.storage", "skep_helper.zfs"
_OTHERS = (
    "skep_helper.linux.guests",
    "skep_helper.linux.network",
    "skep_helper.linux.inventory",
    "skep_helper.linux.usage",
)


def modules(policy: Policy) -> tuple[ModuleType, ...]:
    """Imported when asked for, because they import one another's siblings through this package. Storage is on OpenZFS
    when the policy names a dataset."""
    storage = _ZFS if policy.dataset else _STORAGE
    return tuple(import_module(name) for name in (storage, *_OTHERS))


def boot_id() -> str:
    """Changes with every boot of the host."""
    return _line("/proc/sys/kernel/random/boot_id")


def host_id() -> str:
    """Of this machine: its machine-id(5), or its name where it has none."""
    try:
        return _line("/etc/machine-id")
    except FileNotFoundError:
        return _line("/proc/sys/kernel/hostname")


def _line(path: str) -> str:
    with open(path) as stream:  # without pathlib, which every guard would carry
        return stream.read().strip()
