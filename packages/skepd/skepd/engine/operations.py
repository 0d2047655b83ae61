"""Operations: queued, run in threads of their own, journalled, cancelled, confirmed, recovered.

An operation is a function that plans, given afresh when its turn comes, because what is true may have changed while
it waited. Two operations never touch the same object at the same time: the later one waits, and then plans again.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from skepd.apply.executor import Cancelled, Executor, StepFailed, Texts
from skepd.apply.journal import Journal, Record, unfinished
from skepd.apply.recovery import prepare
from skepd.files import Files
from skepd.host import Host, HostError
from skepd.model.names import Manager, Ref
from skepd.plan.steps import Plan

from .contract import Operation, Refused, StepState, Unknown
from .events import Events
from .index import Index
from .work import Pull, Worker

CONFIRM_SECONDS = 120.0
LOG_LINES = 500
ENDED = ("done", "failed", "cancelled", "undone")
log = logging.getLogger("skepd.operations")
Planner = Callable[[], Plan]


@dataclass(kw_only=True)
class Settings:
    """journals: folder of the running operations' journals. connect: a connection to the host of one's own."""

    files: Files
    journals: Path
    connect: Callable[[], Host]
    pull: Pull
    boot_id: str
    parallel: int = 4
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    confirm_seconds: float = CONFIRM_SECONDS


@dataclass
class _Running:
    """A live operation. refs: the objects it holds while it runs."""

    operation: Operation
    cancel: threading.Event = field(default_factory=threading.Event)
    confirmed: threading.Event = field(default_factory=threading.Event)
    refs: frozenset[Ref] = frozenset()
    host: Host | None = None
    saved: float = 0.0


class Operations:
    """Thread-safe."""

    def __init__(self, settings: Settings, texts: Texts, index: Index, events: Events) -> None:
        self._settings, self._texts, self._index, self._events = settings, texts, index, events
        self._live: dict[str, _Running] = {}
        self._changed = threading.Condition(threading.RLock())
        self._closing = False

    def submit(self, title: str, manager: Manager, planner: Planner) -> Operation:
        """Begin an operation; its plan is made when no other operation holds what it touches."""
        operation = Operation(
            id=self._identity(), title=title, state="queued", manager=manager, created=self._settings.clock()
        )
        running = self._register(operation)
        threading.Thread(target=self._run, args=(running, planner), name=f"op-{operation.id}", daemon=True).start()
        return operation

    def recover(self) -> list[Operation]:
        """Finish, one after the other, what a crash cut off. Blocks until all are at an end."""
        ended = []
        for record in unfinished(self._settings.files, self._settings.journals):
            record = prepare(record, self._settings.boot_id)
            operation = Operation(
                id=record.id,
                title=record.title,
                state="running",
                manager=Manager(record.manager),
                created=record.created,
                steps=_states(record),
                log=("going on after a restart",),
            )
            running = self._register(operation)
            running.refs = frozenset(step.ref for step in record.steps)
            self._guarded(running, lambda running=running, record=record: self._execute(running, record))  # type: ignore[misc]
            ended.append(self.get(record.id))
        return ended

    def get(self, identity: str) -> Operation:
        with self._changed:
            running = self._live.get(identity)
        if running is not None:
            return running.operation
        found = self._index.operation(identity)
        if found is None:
            raise Unknown(f"there is no operation {identity!r}: see `skep operation list`")
        return found

    def list(self, limit: int) -> list[Operation]:
        with self._changed:
            live = {running.operation.id: running.operation for running in self._live.values()}
        past = [operation for operation in self._index.operations(limit) if operation.id not in live]
        return sorted([*live.values(), *past], key=lambda operation: operation.created, reverse=True)[:limit]

    def cancel(self, identity: str) -> Operation:
        """Ask an operation to stop; what it did is undone. Raises Refused when it has ended."""
        with self._changed:
            running = self._live.get(identity)
            if running is None:
                raise Refused(f"operation {identity} has ended: {self.get(identity).state}")
            running.cancel.set()
            self._changed.notify_all()
            host = running.host
        if host is not None:
            host.cancel()
        return running.operation

    def confirm(self, identity: str) -> Operation:
        with self._changed:
            running = self._live.get(identity)
            if running is None or running.operation.state != "confirming":
                raise Refused(f"operation {identity} does not wait for a confirmation")
            running.confirmed.set()
            self._changed.notify_all()
        return self.wait(identity, 10.0)

    def wait(self, identity: str, timeout: float) -> Operation:
        with self._changed:
            self._changed.wait_for(lambda: identity not in self._live, timeout)
        return self.get(identity)

    def busy(self) -> int:
        with self._changed:
            return len(self._live)

    def close(self, timeout: float = 5.0) -> None:
        """Begin nothing new and wait a little; what still runs is finished after the next start."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._live, timeout)

    # --- one operation, in its own thread -------------------------------------------------------------------------

    def _register(self, operation: Operation) -> _Running:
        running = _Running(operation)
        with self._changed:
            if self._closing:
                raise Refused("skepd is stopping; try again in a moment")
            self._live[operation.id] = running
        self._index.save(operation)
        self._events.emit("operation.started", f"operation/{operation.id}", title=operation.title)
        return running

    def _run(self, running: _Running, planner: Planner) -> None:
        def begin() -> None:
            plan = self._plan(running, planner)
            if plan is not None:
                self._execute(running, self._record(running, plan))

        self._guarded(running, begin)

    def _guarded(self, running: _Running, action: Callable[[], None]) -> None:
        """Whatever happens, an operation ends with a state and lets go of what it holds."""
        try:
            action()
        except Exception as error:
            log.exception("operation %s failed", running.operation.id)
            self._end(running, "failed", str(error) or type(error).__name__)

    def _plan(self, running: _Running, planner: Planner) -> Plan | None:
        """Plan, as soon as nobody else holds what the plan touches; None when it ended instead."""
        while True:
            with self._changed:
                if running.cancel.is_set() or self._closing:
                    self._end(running, "cancelled")
                    return None
                plan = planner()
                refused = [note.text for note in plan.notes if note.refuses]
                if refused:
                    self._end(running, "failed", "; ".join(refused))
                    return None
                refs = frozenset(step.ref for step in plan.steps)
                if not self._held(running, refs):
                    running.refs = refs
                    return plan
                self._changed.wait(1.0)

    def _held(self, running: _Running, refs: Iterable[Ref]) -> bool:
        wanted = frozenset(refs)
        return any(other is not running and other.refs & wanted for other in self._live.values())

    def _record(self, running: _Running, plan: Plan) -> Record:
        operation = running.operation
        return Record(
            id=operation.id,
            title=operation.title,
            manager=operation.manager.value,
            created=operation.created,
            boot_id=self._settings.boot_id,
            steps=plan.steps,
            confirm=plan.confirm,
        )

    def _execute(self, running: _Running, record: Record) -> None:
        if not record.steps:
            self._end(running, "done")
            return
        journal = Journal(self._settings.files, self._settings.journals, record)
        self._set(running, state="running", steps=_states(record))
        host = self._settings.connect()
        running.host = host
        try:
            executor = self._executor(running, host, journal)
            if record.phase == "doing":
                journal.begin()
                self._do(running, executor, record)
            else:
                # A crash in the middle of undoing, or before a confirmation: both end in what was before.
                self._undo(running, executor, record.error or "not confirmed before skepd was restarted", "undone")
        finally:
            running.host = None
            host.close()

    def _executor(self, running: _Running, host: Host, journal: Journal) -> Executor:
        observer = _Observer(self, running)
        worker = Worker(self._settings.pull, observer.log, self._settings.sleep)
        return Executor(
            host=host,
            texts=self._texts,
            worker=worker,
            observer=observer,
            journal=journal,
            cancelled=running.cancel.is_set,
            parallel=self._settings.parallel,
        )

    def _do(self, running: _Running, executor: Executor, record: Record) -> None:
        try:
            executor.run()
        except Cancelled:
            self._undo(running, executor, "cancelled", "cancelled")
            return
        except StepFailed as error:
            self._undo(running, executor, str(error), "undone")
            return
        if record.confirm and not self._confirmed(running, executor):
            self._undo(running, executor, "not confirmed in time", "undone")
            return
        executor.journal.end()
        self._end(running, "done")

    def _confirmed(self, running: _Running, executor: Executor) -> bool:
        limit = self._settings.clock() + self._settings.confirm_seconds
        executor.journal.phase("confirming", confirm_before=limit)
        self._set(running, state="confirming", confirm_before=limit)
        with self._changed:
            self._changed.wait_for(
                lambda: running.confirmed.is_set() or running.cancel.is_set(), self._settings.confirm_seconds
            )
        return running.confirmed.is_set()

    def _undo(self, running: _Running, executor: Executor, why: str, state: str) -> None:
        executor.journal.phase("undoing", why)
        _Observer(self, running).log(f"undoing: {why}")
        problems = executor.undo()
        executor.journal.end()
        if problems:
            why = f"{why}; and not everything could be undone: {'; '.join(problems)}"
            state = "failed"
        self._end(running, state, why)

    # --- states ---------------------------------------------------------------------------------------------------

    def _set(self, running: _Running, **changes: object) -> None:
        with self._changed:
            running.operation = replace(running.operation, **changes)  # type: ignore[arg-type]
            self._changed.notify_all()

    def note_step(self, running: _Running, number: int, state: str, done: int, total: int) -> None:
        with self._changed:
            steps = list(running.operation.steps)
            before = steps[number]
            steps[number] = replace(before, state=state, done=done, total=total)
            running.operation = replace(running.operation, steps=tuple(steps))
        if state != "running" or before.state != "running":
            self._events.emit(
                "operation.progress",
                f"operation/{running.operation.id}",
                step=number,
                state=state,
                summary=before.summary,
            )

    def note_line(self, running: _Running, line: str) -> None:
        with self._changed:
            running.operation = replace(running.operation, log=(*running.operation.log, line)[-LOG_LINES:])

    def _end(self, running: _Running, state: str, error: str = "") -> None:
        self._set(running, state=state, ended=self._settings.clock(), error="" if state == "done" else error)
        self._index.save(running.operation)
        self._events.emit(
            "operation.ended",
            f"operation/{running.operation.id}",
            title=running.operation.title,
            state=state,
            error=running.operation.error,
        )
        with self._changed:
            self._live.pop(running.operation.id, None)
            self._changed.notify_all()

    def _identity(self) -> str:
        """Sorts by time; unguessable enough not to be confused."""
        return f"{int(self._settings.clock() * 1000):013d}-{secrets.token_hex(3)}"


class _Observer:
    def __init__(self, operations: Operations, running: _Running) -> None:
        self._operations, self._running = operations, running

    def step(self, number: int, state: str, done: int = 0, total: int = 0) -> None:
        self._operations.note_step(self._running, number, state, done, total)

    def log(self, line: str) -> None:
        self._operations.note_line(self._running, line)


def _states(record: Record) -> tuple[StepState, ...]:
    return tuple(
        StepState(summary=step.summary, state="done" if number in record.done else "waiting")
        for number, step in enumerate(record.steps)
    )


__all__ = ["ENDED", "HostError", "Operations", "Settings"]
