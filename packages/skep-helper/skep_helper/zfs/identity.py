"""Which host a guest's dataset names as the one that may run it."""

from __future__ import annotations

from .. import platforms


def host_id() -> str:
    """Of this machine; it does not travel with its disks."""
    return platforms.host_id()
