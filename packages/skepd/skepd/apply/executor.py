"""Runs the steps of one operation: stage after stage, each step journalled; undoes them when one fails."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from skepd.host import Host, HostError
from skepd.plan.steps import Step, TextChange, Work

from .journal import Journal

LOST_TRIES = 5
"""How often a step is repeated when the helper goes away in the middle of it (it is restarted by then)."""


class Cancelled(Exception):
    """Somebody cancelled the operation."""


class StepFailed(Exception):
    """A step did not succeed; the text says which one, and why."""


class Texts(Protocol):
    """Where definitions are written."""

    def write(self, change: TextChange) -> None: ...


class Observer(Protocol):
    """Told what happens, from several threads."""

    def step(self, number: int, state: str, done: int = 0, total: int = 0) -> None: ...

    def log(self, line: str) -> None: ...


Worker = Callable[[Host, Work, Callable[[int, int], None], Callable[[], bool]], None]
"""Carries out the Work of a step: (host, work, progress, cancelled). Raises an Exception that says what went wrong."""


@dataclass(kw_only=True)
class Executor:
    """Carries out a journalled plan. parallel: how many steps of one stage run at the same time."""

    host: Host
    texts: Texts
    worker: Worker
    observer: Observer
    journal: Journal
    cancelled: Callable[[], bool]
    parallel: int = 4

    def run(self) -> None:
        """Do every step that is not done. Raises StepFailed or Cancelled; what was done stays done until `undo`."""
        record = self.journal.record
        waiting = [number for number in range(len(record.steps)) if number not in record.done]
        for number in record.done:
            self.observer.step(number, "done")
        for _, numbers in groupby(waiting, key=lambda number: record.steps[number].stage):
            self._stage(list(numbers))

    def undo(self) -> list[str]:
        """Undo what was started, in reverse. Returns what could not be undone, a sentence each."""
        record, problems = self.journal.record, []
        for number in sorted(record.started - record.undone, reverse=True):
            try:
                self._undo_step(number, record.steps[number])
            except (HostError, OSError) as error:
                problems.append(f"{record.steps[number].summary}: {error}")
                self.observer.log(f"could not undo: {problems[-1]}")
                continue
            self.journal.undone(number)
            self.observer.step(number, "undone")
        return problems

    def _stage(self, numbers: list[int]) -> None:
        if len(numbers) == 1 or self.parallel == 1:
            for number in numbers:
                self._step(number)
            return
        with ThreadPoolExecutor(self.parallel, "skep-step") as pool:
            futures = [pool.submit(self._step, number) for number in numbers]
            _, unfinished = wait(futures, return_when=FIRST_EXCEPTION)
            for future in unfinished:
                future.cancel()
        # Leaving the pool has waited for steps under way: they are done or failed now, and undo knows them.
        for future in futures:
            if not future.cancelled():
                future.result()

    def _step(self, number: int) -> None:
        step = self.journal.record.steps[number]
        if self.cancelled():
            raise Cancelled
        self.journal.started(number)
        self.observer.step(number, "running")
        try:
            self._carry_out(number, step)
        except Cancelled:
            self.observer.step(number, "failed")
            raise
        except Exception as error:
            self.observer.step(number, "failed")
            if self.cancelled():
                raise Cancelled from error
            raise StepFailed(f"{step.summary}: {error}") from error
        self.journal.done(number)
        self.observer.step(number, "done")

    def _carry_out(self, number: int, step: Step) -> None:
        def progress(done: int, total: int) -> None:
            self.observer.step(number, "running", done, total)

        if step.text is not None:
            self.texts.write(step.text)
        if step.work is not None:
            self.worker(self.host, step.work, progress, self.cancelled)
        if step.requests:
            self._perform(step.requests, progress)

    def _perform(self, requests: tuple[object, ...], progress: Callable[[int, int], None] | None = None) -> None:
        for remaining in reversed(range(LOST_TRIES)):
            try:
                self.host.perform(requests, progress)
                return
            except HostError as error:
                if error.code != "lost" or remaining == 0:
                    raise
                self.observer.log(f"the helper went away ({error}); asking again")

    def _undo_step(self, number: int, step: Step) -> None:
        if step.text is not None:
            change = step.text
            self.texts.write(TextChange(ref=change.ref, before=change.after, after=change.before))
        if step.undo is None:
            if number in self.journal.record.done:
                raise HostError("failed", "this step cannot be undone")
            return
        if step.undo:
            self._undo_requests(step)

    def _undo_requests(self, step: Step) -> None:
        """What is missing already needs no undoing: the step may have failed before it made anything."""
        try:
            self._perform(step.undo or ())
        except HostError as error:
            if error.code != "missing":
                raise
