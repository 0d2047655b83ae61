"""What the caller of plan wishes beside the desired state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """restart: whether running guests whose devices, memory or CPUs changed are stopped and started again (all of
    them, or those named in `restart_guests`); otherwise a note says that a restart is pending.

    start: guests to start whatever the rules below say ("skep guest start").
    start_stopped: also start guests that should be on but ended by themselves or crashed since the host's boot.
    recreate: guests whose missing folder or disks may be made anew, empty (what was on them is lost already).
    adopt: guests whose folder is on the host without a definition, and may be taken over with its disks.
    take: datasets of somebody else that become disks, by (guest, disk). variables: the dataset of somebody else's
    guest whose UEFI variables are copied, by guest. give_back: guests that go and whose taken disks go back.
    """

    restart: bool = False
    restart_guests: frozenset[str] = frozenset()
    start: frozenset[str] = frozenset()
    start_stopped: bool = False
    recreate: frozenset[str] = frozenset()
    adopt: frozenset[str] = frozenset()
    take: Mapping[tuple[str, str], str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    give_back: frozenset[str] = frozenset()

    def may_restart(self, guest: str) -> bool:
        return self.restart or guest in self.restart_guests
