"""Answers that say how a host is: whether all is well, what is used, what changed since a snapshot.

Times are seconds since 1970, sizes are bytes.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from .wire import Request


class Host(Struct, kw_only=True):
    """facts: what plans depend on; status: how the host is now."""

    facts: dict[str, Any]
    status: dict[str, Any]


class Need(Struct, kw_only=True):
    """What a machine needs of its administrator. place: a file, or "command". state: present, missing, different,
    pending (written, but not in effect), or empty when nobody looked. found: what is there instead, or what is left to
    be done."""

    place: str
    line: str
    reason: str
    state: str = ""
    found: str = ""


class GuestDisk(Struct, kw_only=True):
    """A disk with the guest it belongs to."""

    guest: str
    name: str
    size: int | None
    image: str | None
    edition: str
    format: str | None
    status: dict[str, Any]


class Inventory(Struct, kw_only=True):
    """The machine. kernel: that runs; reboot: why a boot is due; smart: why no disk was asked for its health."""

    machine: str = ""
    memory: int = 0
    kernel: str = ""
    reboot: str = ""
    smart: str = ""
    cpu: dict[str, Any] = {}
    nics: list[dict[str, Any]] = []
    drives: list[dict[str, Any]] = []
    pools: list[dict[str, Any]] = []
    environments: list[dict[str, Any]] = []


class Check(Struct, kw_only=True):
    """A facility or a check of `skep doctor`."""

    name: str
    works: bool
    reason: str = ""
    advice: str = ""


class Metrics(Struct, kw_only=True):
    """What was used, in steps of `step` seconds from `start` on. None: nothing is known of that step (it did not run).

    Of a guest: cpu in CPUs, memory in bytes, disk_read, disk_write, net_in, net_out in bytes a second. Of the host:
    cpu, memory_used (without the cache of OpenZFS), memory_guests, arc, net_in, net_out (of its uplinks).
    """

    start: float
    step: int
    series: dict[str, list[float | None]]


class HealthProblem(Struct, kw_only=True):
    """severity: warning or error. ref: guest/web, pool/tank, disk/ada0, uplink/igb0, operation/ID, host, ..."""

    severity: str
    ref: str
    text: str
    advice: str


class Health(Struct, kw_only=True):
    """The host at a glance. state: ok, warning or error. Numbers that are not known are null.

    time: offset and error in seconds; synchronised: null when the kernel does not tell. snapshots: the time of the
    newest one of each guest. operations: those that have not ended. machine_age: seconds since disks and pools were
    looked at, null when that has not been done yet.
    """

    state: str
    problems: tuple[HealthProblem, ...]
    host: dict[str, Any]
    memory: dict[str, Any]
    pools: list[dict[str, Any]]
    disks: list[dict[str, Any]]
    uplinks: list[dict[str, Any]]
    time: dict[str, Any]
    guests: dict[str, Any]
    snapshots: list[dict[str, Any]]
    operations: list[dict[str, Any]]
    machine_age: float | None = None


class DiskChanges(Struct, kw_only=True):
    """written: bytes of blocks written since, null when the storage does not tell. grown: bytes it became larger."""

    written: int | None
    grown: int


class SnapshotChanges(Struct, kw_only=True):
    """What changed since a snapshot, which a rollback takes back. newer: snapshots that it removes.

    definition: lines of the definition that differ, in the manner of diff -u. A rollback leaves the definition as it is
    now. null: it is not known how it was.
    """

    since: float
    disks: dict[str, DiskChanges]
    newer: list[str]
    definition: list[str] | None


class SpanQuery(Request, kw_only=True):
    """span: seconds, up to now. Up to a day in steps of 15 s, else of 5 min; at most 720 steps, which are means."""

    span: Annotated[int, Meta(ge=60, le=2_592_000)] = 3600
