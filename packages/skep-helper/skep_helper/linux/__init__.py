"""The Linux platform: storage on files, guests under QEMU, networks in namespaces."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

NAME = "linux"
DRIVER = "skep_helper.linux.qemu.driver"
PLACES = {"pool": "/var/lib/skep/pool", "run": "/run/skep", "log": "/var/log/skep"}
_MODULES = ("storage", "guests", "network")


def modules() -> tuple[ModuleType, ...]:
    """Imported when asked for, because they import one another's siblings through this package."""
    return tuple(import_module(f"{__name__}.{name}") for name in _MODULES)


def boot_id() -> str:
    """Changes with every boot of the host."""
    with open("/proc/sys/kernel/random/boot_id") as stream:  # without pathlib, which every guard would carry
        return stream.read().strip()
