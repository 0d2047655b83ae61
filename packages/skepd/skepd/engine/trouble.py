"""What is not well on a host, each with what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from skep_helper.vocabulary import ClockReading, GuestReading, InventoryReading, UplinkUsage, UsageReading

from skepd.model.names import Ref
from skepd.plan.observed import Observed

from . import health
from .contract import Operation

TIGHT, VERY_FULL, FAR = 0.05, 0.02, 1_000_000
"""Shares of memory that can be had and of storage that is free below which there is trouble; microseconds of a clock's
offset beyond which there is."""
_TIME_ADVICE = "start a time service: chrony, systemd-timesyncd; on FreeBSD: sysrc ntpd_enable=YES; service ntpd start"


class Problem(NamedTuple):
    """severity: warning, error. ref: what it is about: guest/web, pool/tank, disk/ada0, uplink/igb0, host, ..."""

    severity: str
    ref: str
    text: str
    advice: str


def of_machine(reading: InventoryReading, running: int) -> Iterator[Problem]:
    """Disks, pools, boots that are due. running: guests that run."""
    for drive in reading.drives:
        if drive.smart is not None:
            severity = "error" if drive.smart.health == "failed" else "warning"
            yield from _row(severity, f"disk/{drive.name}", health.drive(drive, drive.smart))
    for pool in reading.pools:
        severity = "warning" if pool.health == "ONLINE" else "error"
        yield from _row(severity, f"pool/{pool.name}", health.pool(pool))
    for row in health.boot(reading, running):
        yield from _row("warning", "host", row)


def _row(severity: str, ref: str, row: health.Row) -> Iterator[Problem]:
    name, works, reason, advice = row
    if not works:
        yield Problem(severity, ref, f"{name}: {reason}", advice)


def of_usage(reading: UsageReading) -> Iterator[Problem]:
    host = reading.host
    can_have = host.free + host.arc
    if host.memory and can_have < TIGHT * host.memory:
        left = f"{can_have >> 20} of {host.memory >> 20} MiB of memory can be had"
        yield Problem("warning", "host", left, "stop a guest or give one less memory; what starts next may fail")
    yield from of_clock(host.clock)
    yield from (problem for uplink in reading.uplinks for problem in of_uplink(uplink))
    if reading.trouble:
        yield Problem("warning", "host", f"not all could be read: {reading.trouble}", "the helper's log says more")


def of_clock(clock: ClockReading) -> Iterator[Problem]:
    if clock.synchronised == "no":
        yield Problem("warning", "host", "nothing keeps the clock right; its offset is not known", _TIME_ADVICE)
    elif clock.offset is not None and abs(clock.offset) > FAR:
        yield Problem("warning", "host", f"the clock is {clock.offset / 1e6:+.1f} s off", "look at the time service")


def of_uplink(uplink: UplinkUsage) -> Iterator[Problem]:
    ref = f"uplink/{uplink.name}"
    if not uplink.there:
        advice = "is the card there (skep host inventory)? else take it out of the helper's policy"
        yield Problem("error", ref, f"uplink {uplink.name} is not there", advice)
    elif uplink.carrier == "down":
        advice = "look at the cable and the switch; is the interface up?"
        yield Problem("error", ref, f"uplink {uplink.name} has no carrier", advice)


def of_storage(observed: Observed) -> Iterator[Problem]:
    storage = observed.storage
    if storage.total and storage.free < 2 * TIGHT * storage.total:
        severity = "error" if storage.free < VERY_FULL * storage.total else "warning"
        text = f"the pool has {storage.free >> 30} GiB free of {storage.total >> 30}"
        yield Problem(severity, "host", text, "remove snapshots or images, or add disks")
    if storage.trash:
        many = f"{len(storage.trash)} things lie in the trash of the pool"
        yield Problem("warning", "host", many, "see the recovery page of the manual")


def of_guest(reading: GuestReading) -> Iterator[Problem]:
    ref, message = f"guest/{reading.name}", f": {reading.message}" if reading.message else ""
    if reading.state == "crashed":
        text = f"guest {reading.name} crashed ({reading.ending}){message}"
        yield Problem("error", ref, text, f"look at its serial line (skep guest log {reading.name}), then start it")
    elif message:
        yield Problem("warning", ref, f"guest {reading.name}{message}", "try again in a moment; see the helper's log")


def of_definitions(
    broken: Mapping[Ref, str], leftovers: Mapping[str, str], problems: Iterable[str]
) -> Iterator[Problem]:
    for ref, reason in sorted(broken.items()):
        advice = "mend the file, then restart skepd; until then what it defines is left alone"
        yield Problem("error", str(ref), reason, advice)
    for name, reason in sorted(leftovers.items()):
        yield Problem("error", "host", f"{name}: {reason}", "restart skepd to try again, or see the recovery page")
    for text in problems:
        yield Problem("warning", "host", text, "`skep plan` says more")


def of_operation(operation: Operation) -> Iterator[Problem]:
    if operation.state == "confirming":
        text = f"{operation.title}: is rolled back unless somebody confirms it"
        yield Problem("warning", f"operation/{operation.id}", text, f"skep operation confirm {operation.id}")
