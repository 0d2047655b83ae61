"""The host at a glance, as plain JSON: whether all is well, and the readings that say so. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skep_helper.vocabulary import DriveReading, InventoryReading, UplinkUsage, UsageReading

from skepd.model.desired import Desired
from skepd.model.facts import HostFacts
from skepd.model.names import Ref
from skepd.plan.observed import Observed

from . import trouble
from .contract import Operation
from .slow import Kept
from .status import ALIVE
from .trouble import Problem

UNENDED = ("queued", "running", "confirming")


@dataclass(frozen=True, kw_only=True)
class View:
    """All that is looked at. usage: None when it could not be read. problems: what the watch cannot repair."""

    facts: HostFacts
    version: str
    started: float
    now: float
    folder: str
    """What storage is called where it is no pool."""
    desired: Desired
    observed: Observed
    usage: UsageReading | None
    machine: Kept[InventoryReading]
    operations: tuple[Operation, ...]
    broken: Mapping[Ref, str]
    leftovers: Mapping[str, str]
    problems: tuple[str, ...]

    @property
    def running(self) -> int:
        return sum(guest.state in ALIVE for guest in self.observed.guests)


def overview(view: View) -> dict[str, Any]:
    found = sorted(problems(view), key=lambda one: (one.severity, one.ref))
    machine = view.machine.value or InventoryReading()
    return {
        "state": found[0].severity if found else "ok",
        "problems": [one._asdict() for one in found],
        "host": _host(view, machine),
        "memory": _memory(view),
        "pools": list(_pools(view, machine)),
        "disks": [_disk(drive) for drive in machine.drives],
        "uplinks": list(_uplinks(view, machine)),
        "time": _time(view),
        "guests": _guests(view),
        "snapshots": list(_snapshots(view)),
        "operations": [
            {"id": one.id, "title": one.title, "state": one.state} for one in view.operations if one.state in UNENDED
        ],
        "machine_age": view.machine.age,
    }


def problems(view: View) -> Iterator[Problem]:
    """Errors sort before warnings by their names."""
    if view.machine.value is not None:
        yield from trouble.of_machine(view.machine.value, view.running)
    if view.machine.trouble:
        text = f"disks and pools could not be looked at: {view.machine.trouble}"
        yield Problem("warning", "host", text, "skep doctor says more")
    if view.usage is not None:
        yield from trouble.of_usage(view.usage)
    else:
        yield Problem("warning", "host", "memory, clock and uplinks could not be read", "the helper's log says why")
    yield from trouble.of_storage(view.observed)
    yield from trouble.of_definitions(view.broken, view.leftovers, view.problems)
    for reading in view.observed.guests:
        if reading.name in view.desired.guests:
            yield from trouble.of_guest(reading)
    for operation in view.operations:
        yield from trouble.of_operation(operation)


def _host(view: View, machine: InventoryReading) -> dict[str, Any]:
    booted = view.usage.host.booted if view.usage else 0
    return {
        "name": view.facts.hostname,
        "platform": view.facts.platform,
        "version": view.version,
        "machine": machine.machine,
        "kernel": machine.kernel,
        "cpus": view.facts.cpus,
        "booted": booted or None,
        "skepd_started": view.started,
        "reboot": machine.reboot,
    }


def _memory(view: View) -> dict[str, Any]:
    if view.usage is None:
        return {"total": view.facts.memory, "guests": 0, "arc": None, "free": None}
    guests = sum(guest.memory for guest in view.usage.guests)
    host = view.usage.host
    return {"total": host.memory or view.facts.memory, "guests": guests, "arc": host.arc, "free": host.free}


def _pools(view: View, machine: InventoryReading) -> Iterator[dict[str, Any]]:
    """Where guests lie in files, their folder counts as one."""
    storage = view.observed.storage
    if view.facts.disk_format != "zvol":
        used = storage.total - storage.free
        yield {"name": view.folder, "size": storage.total, "allocated": used, "health": "ONLINE"}
    for pool in machine.pools:
        yield {
            "name": pool.name,
            "size": pool.size,
            "allocated": pool.allocated,
            "health": pool.health,
            "problem": pool.problem,
            "scan": pool.scan,
        }


def _disk(drive: DriveReading) -> dict[str, Any]:
    found: dict[str, Any] = {"name": drive.name, "size": drive.size, "model": drive.model, "health": "unknown"}
    smart = drive.smart
    if smart is None:
        return {**found, "worn": None, "bad": None, "temperature": None, "hours": None, "reason": "it was not asked"}
    return {
        **found,
        "health": smart.health,
        "worn": smart.worn if smart.worn >= 0 else None,
        "bad": smart.bad,
        "temperature": smart.temperature or None,
        "hours": smart.hours or None,
        "reason": smart.reason,
    }


def _uplinks(view: View, machine: InventoryReading) -> Iterator[dict[str, Any]]:
    nics = {nic.name: nic for nic in machine.nics}
    usage = view.usage.uplinks if view.usage else tuple(UplinkUsage(name=name) for name in view.facts.uplinks)
    for uplink in usage:
        nic = nics.get(uplink.name)
        up = None if uplink.there and not uplink.carrier else uplink.there and uplink.carrier == "up"
        more = {"speed": nic.speed, "description": nic.description} if nic else {"speed": "", "description": ""}
        yield {"name": uplink.name, "up": up, **more}


def _time(view: View) -> dict[str, Any]:
    """offset: seconds; None: not known, which is not the same as none."""
    if view.usage is None:
        return {"now": view.now, "synchronised": None, "source": "", "offset": None, "error": None}
    clock = view.usage.host.clock
    return {
        "now": view.now,
        "synchronised": {"yes": True, "no": False}.get(clock.synchronised),
        "source": "",
        "offset": None if clock.offset is None else clock.offset / 1e6,
        "error": None if clock.error is None else clock.error / 1e6,
    }


def _guests(view: View) -> dict[str, Any]:
    readings = [one for one in view.observed.guests if one.name in view.desired.guests]
    running = Counter(one.state in ALIVE for one in readings)[True]
    broken = [ref.name for ref in view.broken if ref.kind.value == "guest"]
    ill = [one for one in readings if any(trouble.of_guest(one))]
    return {
        "running": running,
        "stopped": len(view.desired.guests) - running,
        "trouble": [
            *({"name": one.name, "state": one.state, "text": one.message} for one in ill),
            *({"name": name, "state": "undefined", "text": "its definition is broken"} for name in broken),
        ],
    }


def _snapshots(view: View) -> Iterator[dict[str, Any]]:
    folders = view.observed.folder_of
    for name in sorted(view.desired.guests):
        taken = [one.created for one in folders[name].snapshots] if name in folders else []
        yield {"guest": name, "newest": max(taken, default=None)}
