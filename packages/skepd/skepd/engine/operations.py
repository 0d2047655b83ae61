"""Operations: queued, each in a thread of its own, cancelled, confirmed, recovered.

An operation is a function that plans, given afresh when its turn comes, because what is true may have changed while
it waited. Two operations never touch the same object at the same time, nor does one change what another relies
upon: the later one waits, in the order of their coming, and then plans.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace

from skepd.apply.executor import Interrupted, Texts
from skepd.apply.journal import Record, unfinished
from skepd.apply.recovery import prepare
from skepd.host import HostError
from skepd.model.desired import Desired
from skepd.model.names import Manager, Ref
from skepd.plan.steps import Plan

from .carrying import CONFIRM_SECONDS, Carrying, Settings, states
from .contract import Conflict, DefinitionError, Operation, Refused, Unknown
from .events import Events
from .index import Index
from .live import Live, Planned, changes_of
from .store import amended

LOG_LINES = 500
ENDED = ("done", "failed", "cancelled", "undone")
log = logging.getLogger("skepd.operations")
Planner = Callable[[], Planned]


class Operations:
    """Thread-safe. Operations that a crash cut off hold what they touch from the beginning; `recover` ends them."""

    def __init__(self, settings: Settings, texts: Texts, index: Index, events: Events) -> None:
        self._settings, self._texts, self._index, self._events = settings, texts, index, events
        self._live: dict[str, Live] = {}
        self._numbers = itertools.count()
        # From the moment a plan is begun until it holds what it touches, so that none is made while another begins.
        self._planning = threading.Lock()
        self.changed = threading.Condition(threading.RLock())
        self.closing = False
        records, self._unreadable = unfinished(settings.files, settings.journals)
        self._index.close_unended({record.id for record in records})
        self._cut_off = [(record, self._adopt(record)) for record in records]

    def submit(self, title: str, manager: Manager, planner: Planner, intent: frozenset[Ref] = frozenset()) -> Operation:
        """Begin an operation; its plan is made when no other operation holds what it touches.

        intent: what it is about, as far as the caller knows. Raises Refused.
        """
        live = self._register(self._new(title, manager), intent)
        identity = live.operation.id
        target = lambda: self._guarded(live, lambda: self._run(live, planner))  # noqa: E731
        threading.Thread(target=target, name=f"op-{identity}", daemon=True).start()
        return live.operation

    def repair(self, planner: Planner) -> Operation:
        """Carry out a repair (see Executor.repair) in this thread; returns the operation when it has ended."""
        live = self._register(self._new("repair what drifted", Manager.SITE), frozenset())
        self._guarded(live, lambda: self._run(live, planner, repair=True))
        return live.operation

    def _new(self, title: str, manager: Manager) -> Operation:
        created = self._settings.clock()
        return Operation(id=self._identity(created), title=title, state="queued", manager=manager, created=created)

    def recover(self) -> list[Operation]:
        """Finish, one after the other, what a crash cut off. Blocks until all are at an end."""
        ended = []
        for record, live in self._cut_off:
            self._guarded(live, lambda live=live, record=record: self._carrying(live).carry_out(record))  # type: ignore[misc]
            ended.append(self.get(record.id))
        self._cut_off = []
        return ended

    def leftovers(self) -> dict[str, str]:
        """Journals that are there without a live operation: {file name: why}."""
        records, unreadable = unfinished(self._settings.files, self._settings.journals)
        with self.changed:
            left = {f"operation {one.id} ({one.title})": one.error for one in records if one.id not in self._live}
        return left | {f"journal {name}": f"it cannot be read ({reason})" for name, reason in unreadable.items()}

    def get(self, identity: str) -> Operation:
        with self.changed:
            live = self._live.get(identity)
            if live is not None:
                return live.operation
        found = self._index.operation(identity)
        if found is None:
            raise Unknown(f"there is no operation {identity!r}: see `skep operation list`")
        return found

    def list(self, limit: int) -> list[Operation]:
        with self.changed:
            live = {one.operation.id: one.operation for one in self._live.values()}
        past = [operation for operation in self._index.operations(limit) if operation.id not in live]
        return sorted([*live.values(), *past], key=lambda operation: operation.created, reverse=True)[:limit]

    def cancel(self, identity: str) -> Operation:
        """Ask an operation to stop; what it did is undone. Raises Refused when it has ended."""
        with self.changed:
            live = self._live.get(identity)
            if live is None:
                raise Refused(f"operation {identity} has ended: {self.get(identity).state}")
            live.cancel.set()
            self.changed.notify_all()
            host = live.host
        if host is not None:
            host.cancel()
        return live.operation

    def confirm(self, identity: str) -> Operation:
        with self.changed:
            live = self._live.get(identity)
            if live is None or live.operation.state != "confirming":
                raise Refused(f"operation {identity} does not wait for a confirmation")
            live.confirmed.set()
            self.changed.notify_all()
        return self.wait(identity, 10.0)

    def wait(self, identity: str, timeout: float) -> Operation:
        with self.changed:
            self.changed.wait_for(lambda: identity not in self._live, timeout)
        return self.get(identity)

    def busy(self) -> int:
        with self.changed:
            return len(self._live)

    def holds(self, ref: Ref) -> bool:
        """Whether some operation is at work on this object."""
        with self.changed:
            return any(ref in live.refs for live in self._live.values())

    def worlds(self, desired: Desired) -> tuple[Desired, ...]:
        """How the definitions may be when the operations under way have ended: all done, and all undone.

        What is asked for meanwhile must agree with both. None when nothing is under way.
        """
        with self.changed:
            under_way = [change for live in self._live.values() for change in live.changes]
        if not under_way:
            return ()
        done = amended(desired, ((ref, after) for ref, _, after in under_way))
        undone = amended(desired, ((ref, before) for ref, before, _ in under_way))
        return done, undone

    def close(self, timeout: float = 5.0) -> None:
        """Begin nothing new and wait a little for steps under way; the rest is done after the next start."""
        with self.changed:
            self.closing = True
            for _, live in self._cut_off:
                self._live.pop(live.operation.id, None)
            self.changed.notify_all()
            self.changed.wait_for(lambda: not self._live, timeout)

    # --- one operation, in its own thread -------------------------------------------------------------------------

    def _register(self, operation: Operation, intent: frozenset[Ref]) -> Live:
        with self.changed:
            if self.closing:
                raise Refused("skepd is stopping; try again in a moment")
            live = Live(operation, next(self._numbers), intent)
            self._live[operation.id] = live
        self._index.save(operation)
        self._events.emit("operation.started", f"operation/{operation.id}", title=operation.title)
        return live

    def _adopt(self, record: Record) -> Live:
        """An operation of a former run."""
        prepare(record, self._settings.boot_id)
        operation = Operation(
            id=record.id,
            title=record.title,
            state="running",
            manager=Manager(record.manager),
            created=record.created,
            steps=states(record),
            log=("going on after a restart",),
        )
        live = self._register(operation, frozenset())
        live.take(Planned(plan=Plan(steps=record.steps), changes=changes_of(record.steps)))
        return live

    def _carrying(self, live: Live) -> Carrying:
        return Carrying(self._settings, self._texts, self, live)

    def _run(self, live: Live, planner: Planner, repair: bool = False) -> None:
        planned = self._plan(live, planner)
        if planned is not None:
            self._carrying(live).carry_out(self._record(live, planned), repair)

    def _guarded(self, live: Live, action: Callable[[], None]) -> None:
        """Whatever happens, an operation ends with a state and lets go of what it holds."""
        try:
            action()
        except Interrupted:
            self.note_line(live, "skepd stops; this goes on when it starts again")
            self._index.save(live.operation)
            self._release(live)
        except (Conflict, DefinitionError, HostError, Refused, Unknown) as error:
            # What was possible when it was asked for is not any more, or the host is out of reach.
            self.end(live, "failed", str(error))
        except Exception as error:
            log.exception("operation %s failed", live.operation.id)
            self.end(live, "failed", str(error) or type(error).__name__)

    def _plan(self, live: Live, planner: Planner) -> Planned | None:
        """Plan, as soon as nobody else holds what the plan touches; None when it ended instead."""
        while self._turn(live):
            with self._planning:
                with self.changed:
                    if self._blocked(live):
                        continue
                    held = list(self._live.values())
                planned = planner()
                with self.changed:
                    if any(one is not live and one.keeps_from_running(planned) for one in held):
                        # One that ended meanwhile counts too: the plan may have seen its work half done.
                        live.intent |= planned.refs | planned.needs
                        continue
                    if planned.refusals:
                        self.end(live, "failed", "; ".join(planned.refusals))
                        return None
                    if live.cancel.is_set() or self.closing:
                        continue
                    live.take(planned)
                    return planned
        self.end(live, "cancelled", "" if live.cancel.is_set() else "skepd was stopped before this began: ask again")
        return None

    def _turn(self, live: Live) -> bool:
        """Wait for the turn of an operation. False when it shall not begin at all."""
        with self.changed:
            self.changed.wait_for(lambda: live.cancel.is_set() or self.closing or not self._blocked(live))
            return not (live.cancel.is_set() or self.closing)

    def _blocked(self, live: Live) -> bool:
        return any(other is not live and other.keeps_from_planning(live) for other in self._live.values())

    def _record(self, live: Live, planned: Planned) -> Record:
        operation = live.operation
        return Record(
            id=operation.id,
            title=operation.title,
            manager=operation.manager.value,
            created=operation.created,
            boot_id=self._settings.boot_id,
            steps=planned.plan.steps,
            confirm=planned.plan.confirm,
            site=planned.site,
        )

    # --- states: what Carrying tells ------------------------------------------------------------------------------

    def set(self, live: Live, **changes: object) -> None:
        with self.changed:
            live.operation = replace(live.operation, **changes)  # type: ignore[arg-type]
            self.changed.notify_all()
        if changes.get("state") == "confirming":
            operation = live.operation
            self._events.emit(
                "operation.confirming",
                f"operation/{operation.id}",
                title=operation.title,
                before=operation.confirm_before,
            )

    def note_step(self, live: Live, number: int, state: str, done: int, total: int) -> None:
        with self.changed:
            steps = list(live.operation.steps)
            before = steps[number]
            steps[number] = replace(before, state=state, done=done, total=total)
            live.operation = replace(live.operation, steps=tuple(steps))
        if state != before.state:
            self._events.emit(
                "operation.progress",
                f"operation/{live.operation.id}",
                step=number,
                state=state,
                summary=before.summary,
            )

    def note_line(self, live: Live, line: str) -> None:
        with self.changed:
            live.operation = replace(live.operation, log=(*live.operation.log, line)[-LOG_LINES:])

    def end(self, live: Live, state: str, error: str = "") -> None:
        self.set(live, state=state, ended=self._settings.clock(), error="" if state == "done" else error)
        self._index.save(live.operation)
        self._events.emit(
            "operation.ended",
            f"operation/{live.operation.id}",
            title=live.operation.title,
            state=state,
            error=live.operation.error,
        )
        self._release(live)

    def _release(self, live: Live) -> None:
        with self.changed:
            self._live.pop(live.operation.id, None)
            self.changed.notify_all()

    @staticmethod
    def _identity(created: float) -> str:
        """Sorts by time; unguessable enough not to be confused."""
        return f"{int(created * 1000):013d}-{secrets.token_hex(3)}"


__all__ = ["CONFIRM_SECONDS", "ENDED", "HostError", "Operations", "Planner", "Settings"]
