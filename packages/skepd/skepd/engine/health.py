"""The machine below: its inventory as plain JSON, and what of it wants attention. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from skep_helper.vocabulary import DriveReading, InventoryReading, PoolReading

FULL, WORN = 0.9, 90
"""A pool that is fuller becomes slow; flash that is more worn (percent) should be replaced."""


def inventory(reading: InventoryReading) -> dict[str, Any]:
    return dataclasses.asdict(reading)


def checks(reading: InventoryReading, running: int) -> list[dict[str, Any]]:
    """What `skep doctor` says of the machine. running: guests that run."""
    found = [*_smart(reading), *map(pool, reading.pools), *boot(reading, running)]
    return [dict(zip(("name", "works", "reason", "advice"), row, strict=True)) for row in found]


Row = tuple[str, bool, str, str]


def _smart(reading: InventoryReading) -> Iterator[Row]:
    if reading.smart and reading.drives:
        yield "smart", False, reading.smart, "until then nobody hears of a disk that is about to fail"
    for one in reading.drives:
        if one.smart is not None:
            yield drive(one, one.smart)


def drive(reading: DriveReading, smart: Any) -> Row:
    name = f"disk {reading.name}"
    if smart.health == "failed":
        return name, False, f"SMART says that {reading.model or reading.name} fails", "replace it now: zpool replace"
    if smart.bad:
        many = f"{smart.bad} sectors could not be read or were replaced"
        return name, False, many, "watch it, and have another disk at hand; `smartctl -a` says more"
    if smart.worn >= WORN:
        return name, False, f"{smart.worn} % of its life is used up", "plan to replace it"
    if smart.health == "unknown":
        return name, True, f"SMART is not known: {smart.reason}", ""
    return name, True, "", ""


def pool(reading: PoolReading) -> Row:
    name = f"pool {reading.name}"
    if reading.health != "ONLINE" or reading.problem:
        return name, False, f"{reading.health}: {reading.problem}".rstrip(": "), f"zpool status -x {reading.name}"
    if reading.size and reading.allocated > FULL * reading.size:
        percent = 100 * reading.allocated // reading.size
        return name, False, f"{percent} % of it is used", "remove snapshots or images, or add disks: it becomes slow"
    return name, True, "", ""


def boot(reading: InventoryReading, running: int) -> Iterator[Row]:
    """A boot ends guests, so an update is prepared while they run, and finished when they may stop."""
    if reading.reboot:
        advice = f"`skep host down` stops {_guests(running)} in order, then boot; they start again by themselves"
        yield "reboot", False, reading.reboot, advice if running else "no guest runs: boot now"
    following = [one.name for one in reading.environments if one.next and not one.running]
    if following:
        yield "boot-environment", False, f"the next boot goes to {following[0]}", "bectl list; bectl activate NAME"
    elif reading.environments:
        names = ", ".join(one.name for one in reading.environments if one.running)
        advice = "before an update: bectl create NAME; back again: bectl activate NAME, and boot"
        yield "boot-environment", True, f"{names} of {len(reading.environments)}", advice


def _guests(running: int) -> str:
    return "the guest" if running == 1 else f"{running} guests"
