"""Carrying out one planned operation to its end: done, undone, or left to the next start of skepd."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from skepd.apply.executor import Cancelled, Executor, Interrupted, StepFailed, Texts
from skepd.apply.journal import Journal, Record, Unwritten
from skepd.apply.recovery import empties_trash
from skepd.files import Files, replace
from skepd.host import Host

from .contract import StepState
from .live import Live
from .work import Pull, Worker

CONFIRM_SECONDS = 120.0
End = tuple[str, str]
"""State and error of an operation that has ended."""


@dataclass(kw_only=True)
class Settings:
    """journals: folder of the running operations' journals. site: the file of the site that was applied last.
    connect: a connection to the host of one's own."""

    files: Files
    journals: Path
    site: Path
    connect: Callable[[], Host]
    pull: Pull
    boot_id: str
    parallel: int = 4
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    confirm_seconds: float = CONFIRM_SECONDS


class Told(Protocol):
    """Who keeps the states of operations."""

    changed: threading.Condition
    closing: bool

    def set(self, live: Live, **changes: object) -> None: ...

    def note_step(self, live: Live, number: int, state: str, done: int, total: int) -> None: ...

    def note_line(self, live: Live, line: str) -> None: ...

    def end(self, live: Live, state: str, error: str = "") -> None: ...


class Carrying:
    """One operation. Raises Interrupted when skepd stops in the middle of it."""

    def __init__(self, settings: Settings, texts: Texts, told: Told, live: Live) -> None:
        self._settings, self._texts, self._told, self._live = settings, texts, told, live

    def carry_out(self, record: Record, repair: bool = False) -> None:
        """From where the record says to the end. repair: keep what succeeds, undo nothing."""
        if record.steps:
            state, error = self._carry_out(record, repair)
        else:
            self._keep_site(record)
            state, error = "done", ""
        # Last of all, when also the connection is closed: whoever waited for the end finds nothing left of it.
        self._told.end(self._live, state, error)

    def _carry_out(self, record: Record, repair: bool) -> End:
        kind = Unwritten if repair else Journal
        journal = kind(self._settings.files, self._settings.journals, record)
        self._told.set(self._live, state="running", steps=states(record))
        host = self._settings.connect()
        self._live.host = host
        try:
            executor = self._executor(host, journal)
            journal.begin()
            if repair:
                return self._repair(executor)
            if record.phase == "undoing":
                return self._undo(executor, record.error, "undone")
            return self._do(executor, record)
        finally:
            self._live.host = None
            host.close()

    def _executor(self, host: Host, journal: Journal) -> Executor:
        observer = _Observer(self._told, self._live)
        return Executor(
            host=host,
            texts=self._texts,
            worker=Worker(self._settings.pull, observer.log, self._settings.sleep),
            observer=observer,
            journal=journal,
            cancelled=self._live.cancel.is_set,
            stopping=lambda: self._told.closing,
            sleep=self._settings.sleep,
            parallel=self._settings.parallel,
        )

    def _repair(self, executor: Executor) -> End:
        try:
            problems = executor.repair()
        except Cancelled:
            return "cancelled", "cancelled; what was repaired until then stays"
        return "failed" if problems else "done", "; ".join(problems)

    def _do(self, executor: Executor, record: Record) -> End:
        try:
            executor.run()
            if record.confirm and record.phase == "doing":
                self._await_confirmation(executor)
            problems = executor.finish()
        except Cancelled:
            return self._undo(executor, "cancelled", "cancelled")
        except StepFailed as error:
            return self._undo(executor, str(error), "undone")
        self._keep_site(record)
        if problems:
            return self._leave(executor, f"this is done but for what cannot be undone: {'; '.join(problems)}")
        executor.journal.end()
        return "done", ""

    def _keep_site(self, record: Record) -> None:
        if record.site:
            replace(self._settings.files, self._settings.site, record.site.encode())

    def _leave(self, executor: Executor, why: str) -> End:
        """Trash that could not be emptied is tried again at the next start; nobody else has anything there."""
        record = executor.journal.record
        if any(empties_trash(step) for number, step in enumerate(record.steps) if number not in record.done):
            executor.journal.phase("emptying", why)
        else:
            executor.journal.end()
        return "failed", why

    def _await_confirmation(self, executor: Executor) -> None:
        """Raises Cancelled, StepFailed when nobody confirms, or Interrupted."""
        live, told = self._live, self._told
        executor.journal.phase("confirming")
        told.set(live, state="confirming", confirm_before=self._settings.clock() + self._settings.confirm_seconds)
        with told.changed:
            told.changed.wait_for(
                lambda: live.confirmed.is_set() or live.cancel.is_set() or told.closing, self._settings.confirm_seconds
            )
        if live.confirmed.is_set():
            executor.journal.phase("confirmed")
            told.set(live, state="running", confirm_before=0.0)
        elif live.cancel.is_set():
            raise Cancelled
        elif told.closing:
            raise Interrupted
        else:
            raise StepFailed("not confirmed in time")

    def _undo(self, executor: Executor, why: str, state: str) -> End:
        try:
            executor.journal.phase("undoing", why)
        except OSError as error:
            # No reason to stay half-way: what is undone now need not be known to a next start.
            self._told.note_line(self._live, f"the journal cannot be written ({error})")
        self._told.note_line(self._live, f"undoing: {why}")
        problems = executor.undo()
        executor.journal.end()
        if problems:
            return "failed", f"{why}; and not everything could be undone: {'; '.join(problems)}"
        return state, why


class _Observer:
    def __init__(self, told: Told, live: Live) -> None:
        self._told, self._live = told, live

    def step(self, number: int, state: str, done: int = 0, total: int = 0) -> None:
        self._told.note_step(self._live, number, state, done, total)

    def log(self, line: str) -> None:
        self._told.note_line(self._live, line)


def states(record: Record) -> tuple[StepState, ...]:
    return tuple(
        StepState(summary=step.summary, state=_state(record, number)) for number, step in enumerate(record.steps)
    )


def _state(record: Record, number: int) -> str:
    if number in record.skipped:
        return "skipped"
    return "undone" if number in record.undone else "done" if number in record.done else "waiting"
