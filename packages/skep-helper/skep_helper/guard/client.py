"""What the helper's other modules ask of guests that may be running. Blocking; every call is one round trip.

All raise ``Failure`` (missing: the guest does not run; timeout; failed: what the VMM said).
"""

from __future__ import annotations

from ..policy import Policy


def is_running(policy: Policy, guest: str) -> bool:
    """Whether the guest's VMM runs (also paused); no process is started while its guard lives."""
    raise NotImplementedError


def snapshot(policy: Policy, guest: str, snapshot: str, quiesce: bool) -> bool:
    """Snapshot all disks of a running guest inside their qcow2 files, at one instant.

    Returns whether the file systems were frozen by the guest agent meanwhile.
    """
    raise NotImplementedError


def remove_snapshot(policy: Policy, guest: str, snapshot: str) -> None:
    """Remove a snapshot from all disks of a running guest; repeatable."""
    raise NotImplementedError


def grow(policy: Policy, guest: str, disk: str, size: int) -> None:
    """Tell a running guest that its disk has `size` bytes now, growing its file too."""
    raise NotImplementedError
