"""What the API may ask of the engine. Synchronous; thread-safe; long work answers with an operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from skep_helper.vocabulary import ReceiveSnapshot, ReplicaReading, SnapshotStream

from skepd.adoption.adoption import Adoption
from skepd.adoption.guests import Choices
from skepd.model.errors import DefinitionError
from skepd.model.facts import HostFacts
from skepd.model.names import Manager, Ref
from skepd.model.objects import Guest, Object, Port
from skepd.plan.needs import Need
from skepd.plan.steps import Plan

__all__ = [
    "AdoptionPlan",
    "Conflict",
    "DefinitionError",
    "Engine",
    "Event",
    "Operation",
    "Refused",
    "StepState",
    "Stream",
    "Unknown",
    "View",
]


class Unknown(LookupError):
    """There is no such object. The text names it and the nearest name there is."""


class Conflict(Exception):
    """The object changed since the caller read it (ETag), has another manager, or is used by something else."""


class Refused(Exception):
    """Understood, but not done: the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class StepState:
    summary: str
    state: str
    """waiting, running, done, failed, undone, skipped"""
    done: int = 0
    total: int = 0
    """Progress of the running step in bytes or items; total 0: unknown."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """Long work, persisted. state: queued, running, confirming, done, failed, cancelled, undone."""

    id: str
    title: str
    state: str
    manager: Manager
    created: float
    ended: float = 0.0
    error: str = ""
    steps: tuple[StepState, ...] = ()
    log: tuple[str, ...] = ()
    confirm_before: float = 0.0
    """When state is confirming: the time after which the operation is rolled back."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something happened. number rises by one for each event and survives restarts; 0: told once, and not kept."""

    number: int
    time: float
    kind: str
    """e.g. guest.started, guest.ended, object.changed, operation.progress, operation.ended, host.warning"""
    ref: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class View:
    """An object as it should be and as it is. etag: of the definition. status: plain JSON (state, addresses, ...)."""

    object: Object
    etag: str
    status: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class AdoptionPlan:
    """What taking over would do: what was found, and the steps for what can be taken over."""

    found: Adoption
    plan: Plan


class Stream(Protocol):
    """One on its way. descriptor: of a pipe, not blocking. size: what it will have, about; 0: not known."""

    descriptor: int
    size: int

    def end(self) -> None:
        """All was read or written, or the caller gives up: close it. Raises HostError for what was refused."""
        ...


class Engine(Protocol):
    """Objects, operations and readings of one host. Raises Unknown, Conflict, Refused, DefinitionError, HostError."""

    def facts(self) -> HostFacts: ...

    def host_status(self) -> dict[str, Any]:
        """Name, platform, version, uptime, CPU, memory, storage, counts, problems: plain JSON."""
        ...

    def inventory(self) -> dict[str, Any]:
        """The machine: CPU, memory, NICs, disks with SMART, pools, boot environments: plain JSON. May take seconds."""
        ...

    def health(self) -> dict[str, Any]:
        """The host at a glance: state, problems with what to do, and the readings behind them: plain JSON. Cheap: what
        is slow to read may be ten minutes old (machine_age)."""
        ...

    def exposition(self) -> str:
        """The same and what is used, for Prometheus (text format 0.0.4)."""
        ...

    def doctor(self) -> list[dict[str, Any]]:
        """[{"name", "works", "reason", "advice"}] for every facility and check."""
        ...

    def views(self, kind: str) -> list[View]: ...

    def view(self, ref: Ref) -> View: ...

    def put(self, value: Object, *, manager: Manager, etag: str | None = None, take_over: bool = False) -> Operation:
        """Define or change an object and carry it out. etag "*" means it must not exist yet."""
        ...

    def put_all(self, values: Sequence[tuple[Object, str | None]], *, manager: Manager, take_over: bool) -> Operation:
        """Define or change several objects, each with its etag, and carry it out as one change: all or nothing."""
        ...

    def plan_put_all(
        self, values: Sequence[tuple[Object, str | None]], *, manager: Manager, take_over: bool
    ) -> Plan: ...

    def delete(self, ref: Ref, *, manager: Manager, etag: str | None = None, take_over: bool = False) -> Operation: ...

    def guest_action(self, name: str, action: str, options: dict[str, Any]) -> Operation:
        """start, stop (timeout, force), restart, reset, pause, resume, snapshot (snapshot, quiesce),
        rollback (snapshot, start), remove-snapshot (snapshot), clone (target), grow (disk, size)."""
        ...

    def changes(self, guest: str, snapshot: str) -> dict[str, Any]:
        """What changed since a snapshot and a rollback would lose: {"since", "disks", "newer", "definition"}."""
        ...

    def plan_put(self, value: Object, *, manager: Manager, etag: str | None = None, take_over: bool = False) -> Plan:
        """What put would do; it refuses what put refuses, and does nothing. So do the next two."""
        ...

    def plan_delete(self, ref: Ref, *, manager: Manager, etag: str | None = None, take_over: bool = False) -> Plan: ...

    def plan_action(self, name: str, action: str, options: dict[str, Any]) -> Plan: ...

    def plan_site(self, text: str, file: str) -> Plan: ...

    def apply_site(self, text: str, file: str, *, restart: bool = False) -> Operation: ...

    def export(self) -> str:
        """The running host as site.toml."""
        ...

    def prepare(self, text: str, file: str, *, check: bool = False) -> tuple[Need, ...]:
        """What the machine of a site needs of its administrator; check: and which of it this machine has."""
        ...

    def quiesce(self) -> Operation:
        """Stop all guests in order and take networks and ports away, keeping every definition and disk.

        Nothing is repaired from then on until the engine starts anew (which starts the guests again).
        """
        ...

    def plan_adoption(self, names: tuple[str, ...], choices: Choices) -> AdoptionPlan:
        """What is there of vm-bhyve, and what taking it over would do. names: none is all of them."""
        ...

    def adopt(self, names: tuple[str, ...], choices: Choices) -> Operation:
        """Take guests of vm-bhyve over without copying. Refused as a whole when a named one cannot be taken over."""
        ...

    def plan_return(self, names: tuple[str, ...]) -> Plan: ...

    def give_back(self, names: tuple[str, ...]) -> Operation:
        """The inverse of adopt for stopped guests; their networks stay."""
        ...

    def send_snapshot(self, stream: SnapshotStream) -> Stream:
        """Of one part of a guest, as a stream to be read."""
        ...

    def receive_snapshot(self, request: ReceiveSnapshot) -> Stream:
        """A stream to be written, into a replica of a guest that is not defined here."""
        ...

    def replica(self, guest: str) -> ReplicaReading: ...

    def abandon_replica(self, guest: str, disk: str | None) -> None:
        """Throw away what an interrupted stream brought."""
        ...

    def promote_replica(self, guest: Guest, ports: tuple[Port, ...]) -> Operation:
        """Make a replica a guest of this host, with this definition. Refused when its name is taken."""
        ...

    def operations(self, limit: int = 100) -> list[Operation]: ...

    def operation(self, identity: str) -> Operation: ...

    def cancel(self, identity: str) -> Operation: ...

    def confirm(self, identity: str) -> Operation: ...

    def wait(self, identity: str, timeout: float) -> Operation:
        """The operation when it has ended, or as it is after `timeout` seconds."""
        ...

    def events(self, after: int, timeout: float) -> Iterator[Event]:
        """Events after this number; waits at most `timeout` seconds for the first one, then ends."""
        ...

    def listen(self, listener: Callable[[Event], None]) -> None:
        """listener(event) is called with each event that is not kept (number 0), from another thread; it must not
        block. So far these are of kind "metrics"."""
        ...

    def metrics(self, guest: str | None, span: int) -> dict[str, Any]:
        """What a guest, or (None) the host, used in the last `span` seconds: {"start", "step", "series"}."""
        ...

    def open_console(self, guest: str, *, writer: bool, take: bool, offset: int | None = None) -> tuple[int, int]:
        """A descriptor (a stream socket: the history from an offset on, then live), and the offset of its first byte.

        offset: of a byte that is kept, or the next that is; negative: so many bytes before the end; None: from now on.
        A guest that was started by an older version gives what comes from now on, whatever was asked.
        """
        ...

    def open_screen(self, guest: str) -> int: ...

    def console_history(self, guest: str, offset: int, length: int) -> tuple[int, bytes]: ...

    def pull_image(self, name: str, version: str, sources: tuple[str, ...], *, manager: Manager) -> Operation: ...
