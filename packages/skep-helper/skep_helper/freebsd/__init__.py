"""The FreeBSD platform: storage on OpenZFS, guests under bhyve, networks in vnet jails."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ..policy import Policy
from ..run import run

NAME = "freebsd"
DRIVER = "skep_helper.freebsd.bhyve.driver"
PLACES = {"pool": "/var/db/skep/pool", "run": "/var/run/skep", "log": "/var/log/skep"}
_MODULES = ("storage", "guests", "network", "inventory", "usage")


def modules(policy: Policy) -> tuple[ModuleType, ...]:
    """Imported when asked for, because they import one another's siblings through this package."""
    return tuple(import_module(f"{__name__}.{name}") for name in _MODULES)


def boot_id() -> str:
    """Changes with every boot of the host, and not with its clock as kern.boottime does."""
    return run(["sysctl", "-b", "kern.boot_id"]).hex()


def host_id() -> str:
    """Of this machine: what rc.d/hostid took from its firmware, or made."""
    return run(["sysctl", "-n", "kern.hostuuid"]).decode().strip()
