"""What one does with a guest, as plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from skep_helper.vocabulary import (
    CreateDisk,
    PauseGuest,
    Rejected,
    RemoveSnapshot,
    ResetGuest,
    ResumeGuest,
    RollBackGuest,
    SnapshotGuest,
    StopGuest,
)

from skepd.model.definitions import validate
from skepd.model.desired import Desired
from skepd.model.names import Kind, Ref
from skepd.model.objects import Disk, Guest
from skepd.plan.observed import Observed
from skepd.plan.options import PlanOptions
from skepd.plan.steps import Plan, Step

from .contract import Conflict, Refused, Unknown
from .status import ALIVE
from .store import including

Plans = Callable[..., Plan]
"""plan(after, observed, options): a plan from the definitions as they are to `after`."""


@dataclass(frozen=True)
class Actions:
    """Plans for guest actions. Raises Unknown, Refused, Conflict."""

    desired: Desired
    observed: Observed
    plan: Plans

    def of(self, name: str, action: str, options: dict[str, Any]) -> Plan:
        try:
            return self._of(name, action, options)
        except Rejected as error:
            raise Refused(f"cannot {action} guest {name}: {error}") from None

    def _of(self, name: str, action: str, options: dict[str, Any]) -> Plan:
        guest = self._guest(name)
        makers: dict[str, Callable[[Guest, dict[str, Any]], Plan]] = {
            "start": self._start,
            "stop": self._stop,
            "restart": self._restart,
            "reset": lambda guest, _: self._running(guest, "reset", ResetGuest(guest=guest.name)),
            "pause": lambda guest, _: self._running(guest, "pause", PauseGuest(guest=guest.name)),
            "resume": lambda guest, _: self._running(guest, "resume", ResumeGuest(guest=guest.name)),
            "snapshot": self._snapshot,
            "rollback": self._roll_back,
            "remove-snapshot": self._remove_snapshot,
            "clone": self._clone,
            "grow": self._grow,
        }
        if action not in makers:
            raise Refused(f"there is no action {action!r}: one of {', '.join(makers)}")
        return makers[action](guest, options)

    def _guest(self, name: str) -> Guest:
        try:
            return self.desired.guests[name]
        except KeyError:
            raise Unknown(f"there is no guest {name!r}") from None

    def _state(self, name: str) -> str:
        reading = self.observed.guest_of.get(name)
        return reading.state if reading else "stopped"

    def _start(self, guest: Guest, _: dict[str, Any]) -> Plan:
        after = including(self.desired, replace(guest, power="on"))
        return self.plan(after, self.observed, PlanOptions(start=frozenset({guest.name})))

    def _stop(self, guest: Guest, options: dict[str, Any]) -> Plan:
        after = including(self.desired, replace(guest, power="off"))
        plan = self.plan(after, self.observed, PlanOptions())
        return replace(plan, steps=tuple(_impatient(step, guest.name, options) for step in plan.steps))

    def _restart(self, guest: Guest, options: dict[str, Any]) -> Plan:
        """Stop and start, as if its definition had changed: so the health gate is waited for too."""
        readings = tuple(
            replace(reading, digest="") if reading.name == guest.name else reading for reading in self.observed.guests
        )
        names = frozenset({guest.name})
        after = including(self.desired, replace(guest, power="on"))
        plan = self.plan(after, replace(self.observed, guests=readings), PlanOptions(restart_guests=names, start=names))
        return replace(plan, steps=tuple(_impatient(step, guest.name, options) for step in plan.steps))

    def _running(self, guest: Guest, verb: str, request: Any) -> Plan:
        state = self._state(guest.name)
        if state not in ALIVE:
            raise Refused(f"guest {guest.name} is {state}: start it first")
        # Volatile: after a power loss there is nothing left to reset, pause or resume.
        return Plan(steps=(replace(_step(guest.name, verb, f"{verb} guest {guest.name}", request), volatile=True),))

    def _snapshot(self, guest: Guest, options: dict[str, Any]) -> Plan:
        name = options["snapshot"]
        if name in self._snapshots(guest.name):
            raise Conflict(f"guest {guest.name} has a snapshot {name!r} already: take another name or delete it")
        request = SnapshotGuest(guest=guest.name, snapshot=name, quiesce=bool(options.get("quiesce", True)))
        undo = (RemoveSnapshot(guest=guest.name, snapshot=name),)
        summary = f"snapshot guest {guest.name} as {name}"
        return Plan(steps=(replace(_step(guest.name, "snapshot", summary, request), undo=undo),))

    def _roll_back(self, guest: Guest, options: dict[str, Any]) -> Plan:
        """Stop, bring back, and start again what ran (or what `start` asks for)."""
        name = self._existing(guest.name, options["snapshot"])
        alive = self._state(guest.name) in ALIVE
        request = RollBackGuest(guest=guest.name, snapshot=name)
        summary = f"roll guest {guest.name} back to {name}"
        middle = replace(_step(guest.name, "rollback", summary, request), undo=None)
        if not alive and not options.get("start"):
            return Plan(steps=(middle,))
        around = self._restart(guest, {}).steps
        stops = [step for step in around if step.verb == "stop"]
        others = [step for step in around if step.verb != "stop"]
        ordered = [*stops, middle, *others]
        return Plan(steps=tuple(replace(step, stage=number) for number, step in enumerate(ordered)))

    def _remove_snapshot(self, guest: Guest, options: dict[str, Any]) -> Plan:
        name = self._existing(guest.name, options["snapshot"])
        request = RemoveSnapshot(guest=guest.name, snapshot=name)
        summary = f"remove snapshot {name} of guest {guest.name}"
        return Plan(steps=(replace(_step(guest.name, "remove-snapshot", summary, request), undo=None),))

    def _grow(self, guest: Guest, options: dict[str, Any]) -> Plan:
        name, size = options["disk"], options["size"]
        if all(disk.name != name for disk in guest.disks):
            raise Unknown(f"guest {guest.name} has no disk {name!r}")
        disks = tuple(replace(disk, size=size) if disk.name == name else disk for disk in guest.disks)
        return self.plan(including(self.desired, replace(guest, disks=disks)), self.observed, PlanOptions())

    def _clone(self, guest: Guest, options: dict[str, Any]) -> Plan:
        """A new guest, off, with copies of the disks and network cards with addresses of their own to be given."""
        target = options["target"]
        if target in self.desired.guests:
            raise Conflict(f"there is a guest {target!r} already")
        if self._state(guest.name) in ALIVE:
            raise Refused(f"guest {guest.name} is running: stop it first, so that its disks are at rest")
        after, nics = self.desired, []
        for number, nic in enumerate(guest.nics):
            port = replace(
                self.desired.ports[nic.port], name=f"{target}.{number}", guest=target, mac=None, addresses=()
            )
            after = including(after, port)
            nics.append(replace(nic, port=port.name))
        copy = replace(guest, name=target, power="off", nics=tuple(nics), disks=self._sized(guest))
        validate(copy)
        plan = self.plan(including(after, copy), self.observed, PlanOptions())
        return replace(plan, steps=tuple(_copying(step, target, guest.name) for step in plan.steps))

    def _sized(self, guest: Guest) -> tuple[Disk, ...]:
        folder = self.observed.folder_of.get(guest.name)
        sizes = {disk.disk: disk.size for disk in folder.disks} if folder else {}
        return tuple(replace(disk, size=sizes.get(disk.name, disk.size)) for disk in guest.disks)

    def _snapshots(self, guest: str) -> set[str]:
        folder = self.observed.folder_of.get(guest)
        return {one.snapshot for one in folder.snapshots} if folder else set()

    def _existing(self, guest: str, name: str) -> str:
        there = self._snapshots(guest)
        if name not in there:
            raise Unknown(f"guest {guest} has no snapshot {name!r}: it has {', '.join(sorted(there)) or 'none'}")
        return name


def _step(guest: str, verb: str, summary: str, request: Any) -> Step:
    return Step(verb=verb, ref=Ref(Kind.GUEST, guest), summary=summary, requests=(request,))


def _impatient(step: Step, guest: str, options: dict[str, Any]) -> Step:
    """The stop step with the caller's patience instead of the definition's."""
    given = {key: options[key] for key in ("timeout", "force") if options.get(key) is not None}
    if step.verb != "stop" or step.ref.name != guest or not given:
        return step
    requests = tuple(replace(one, **given) if isinstance(one, StopGuest) else one for one in step.requests)
    return replace(step, requests=requests)


def _copying(step: Step, target: str, source: str) -> Step:
    """The step that makes a disk, made to copy the source guest's disk instead."""
    if step.ref.name != target or not any(isinstance(one, CreateDisk) for one in step.requests):
        return step
    requests = tuple(
        replace(one, image=None, version=None, source_guest=source) if isinstance(one, CreateDisk) else one
        for one in step.requests
    )
    return replace(step, requests=requests)
