"""What the guard needs of a VMM: the seam between the guard and the platforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .loop import Future, Task

Attach = Callable[[int, int], None]
"""Gives the console its serial line: two descriptors, for what the guest writes and for what is typed."""


class Disks(Protocol):
    """Work on the disks of a running guest; raises GuardError(unsupported) for what this VMM leaves to its storage."""

    def snapshot(self, name: str, quiesce: bool) -> Task: ...

    def remove_snapshot(self, name: str) -> Task: ...

    def grow(self, disk: str, size: int) -> Task: ...

    def freeze(self, seconds: float) -> Task:
        """Freeze the guest's file systems through its agent; returns whether they are, for so many seconds at most."""
        ...

    def thaw(self) -> Task: ...


class Driver(Protocol):
    """One VMM under its guard. Made as Driver(loop, folder, state, changed, attach): the guard's state is changed in
    place, and changed() called after each change. ended: settled when there is no VMM any more, and never will be; of
    one that is not followed it never is. following: whether there is one whose end will be learned.

    Tasks raise GuardError. Kept to what the guard calls; everything else of a VMM stays in its driver.
    """

    ended: Future
    following: bool
    disks: Disks

    def start(self, launch: dict[str, Any], descriptors: Sequence[int]) -> Task:
        """Start it; fails with the VMM's own words when it does not come up. One that fails before it follows its VMM
        leaves none behind."""
        ...

    def adopt(self) -> Task:
        """Take over what another guard started, from the state alone; its ending is recorded if it is gone. Fails when
        it cannot be followed just now, see Loop.insist."""
        ...

    def stop(self, timeout: float, force: bool, wanted: Callable[[], bool]) -> Task:
        """Shut it down in an orderly way; end it at the timeout, if force. wanted(): whether somebody still waits."""
        ...

    def reset(self) -> Task: ...

    def pause(self) -> Task: ...

    def resume(self) -> Task: ...

    def screen(self) -> Task:
        """The descriptor of a stream socket that speaks RFB."""
        ...

    def execute(self, command: str, arguments: dict[str, Any]) -> Future:
        """Any command of the VMM's monitor, where it has one."""
        ...
