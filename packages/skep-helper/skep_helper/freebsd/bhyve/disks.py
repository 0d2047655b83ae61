"""Disks of a running guest: bhyve has nothing to do with them but to be told of a new size.

Its disks are volumes of the pool, whose snapshots the storage takes from outside, running guest or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...guard.freezing import Freezer
from ...guard.loop import Loop, Task
from ...guard.protocol import GuardError


class Disks:
    """state: the guard's; "disks" lists the names."""

    def __init__(self, loop: Loop, state: dict[str, Any], changed: Callable[[], None]) -> None:
        self._state = state
        self._freezer = Freezer(loop, state.get("agent", ""), state, changed)

    def snapshot(self, name: str, quiesce: bool) -> Task:
        raise GuardError("unsupported", "bhyve takes no snapshots; the pool does")
        yield

    def remove_snapshot(self, name: str) -> Task:
        raise GuardError("unsupported", "bhyve takes no snapshots; the pool does")
        yield

    def grow(self, disk: str, size: int) -> Task:
        """bhyve asks its device by itself; a guest that does not notice does after its next start."""
        if disk not in self._state["disks"]:
            raise GuardError("missing", f"the running guest has no disk {disk}; it comes with its next start")
        return None
        yield

    def freeze(self, seconds: float) -> Task:
        return (yield from self._freezer.freeze_for(seconds))

    def thaw(self) -> Task:
        return (yield from self._freezer.thaw())
