"""Runs the steps of one operation: stage after stage, each step journalled; undoes them when one fails.

A plan has a turning point: its first step that cannot be undone. Up to there everything can be taken back; once
such a step has done something there is only the way forward.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol, TypeVar

from skepd.host import Host, HostError
from skepd.model.errors import DefinitionError
from skepd.model.names import Ref
from skepd.plan.steps import Step, TextChange, Work

from .journal import Journal

LOST_TRIES = 5
"""How often a step is tried when the helper goes away in the middle of it (it is restarted by then)."""
UNDO_TRIES = 3
"""How often an undo that fails is tried: what failed for a moment must not leave things half undone."""
LOST_SECONDS = (0.2, 5.0)
"""How long is waited before it is asked again: at first, and at most."""
_NOTHING_DONE = frozenset({"rejected", "busy", "missing", "exists", "conflict", "full", "unsupported"})
"""Codes of a HostError that say that the request did nothing."""
FOUND = {"made": False}
"""The answer to a request that found what it was to make."""
T = TypeVar("T")


class Cancelled(Exception):
    """Somebody cancelled the operation."""


class Interrupted(Exception):
    """skepd is stopping. The journal says how far the operation came; the next start goes on from there."""


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
    """Carries out a journalled plan. parallel: how many steps of one stage run at the same time.

    cancelled: whether to stop and undo. stopping: whether skepd ends, so that no further step begins.
    """

    host: Host
    texts: Texts
    worker: Worker
    observer: Observer
    journal: Journal
    cancelled: Callable[[], bool]
    stopping: Callable[[], bool] = lambda: False
    sleep: Callable[[float], None] = time.sleep
    parallel: int = 4
    _doubtful: set[int] = field(default_factory=set)
    _repeated: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Do every step before the turning point. Raises StepFailed, Cancelled or Interrupted; what was done stays
        done until `undo`."""
        for number in sorted(self.journal.record.done):
            self.observer.step(number, "done")
        for number in sorted(self.journal.record.skipped):
            self.observer.step(number, "skipped")
        for numbers in self._stages(0, self._turning_point):
            self._stage(numbers)

    def finish(self) -> list[str]:
        """Do the steps from the turning point on. Returns what failed with no way back, a sentence each.

        Raises StepFailed or Cancelled only as long as everything can still be undone.
        """
        problems: list[str] = []
        for numbers in self._stages(self._turning_point, len(self.journal.record.steps)):
            if problems:
                # What was to follow a failed step is not done (a start after a rollback); removals are independent.
                numbers = [number for number in numbers if self.journal.record.steps[number].undo is None]
            failures = self._stage(numbers, go_on=True)
            if failures and not self._no_way_back():
                raise failures[0]
            problems += [str(failure) for failure in failures]
        return problems

    def repair(self) -> list[str]:
        """Do every step that can be done: one that fails holds up what is done to the same object and nothing else.

        Returns what failed, a sentence each. Nothing is undone: a repaired part is better than none.
        """
        failed: set[Ref] = set()
        problems: list[str] = []
        steps = self.journal.record.steps
        for numbers in self._stages(0, len(steps)):
            for number in numbers:
                if steps[number].ref in failed:
                    self.observer.step(number, "skipped")
            going = [number for number in numbers if steps[number].ref not in failed]
            failures = self._stage(going, go_on=True)
            failed |= {steps[failure.number].ref for failure in failures}
            problems += [str(failure) for failure in failures]
        return problems

    def undo(self) -> list[str]:
        """Undo what was started, in reverse. Returns what could not be undone, a sentence each.

        Waits for a helper that went away for as long as it takes: half undone is no state to leave things in.
        Raises Interrupted.
        """
        record, problems = self.journal.record, []
        for number in sorted(record.started - record.undone - record.skipped, reverse=True):
            if self.stopping():
                raise Interrupted
            try:
                self._undo_step(number, record.steps[number])
                self.journal.undone(number)
            except (HostError, OSError, DefinitionError) as error:
                problems.append(f"{record.steps[number].summary}: {error}")
                self.observer.log(f"could not undo: {problems[-1]}")
                continue
            self.observer.step(number, "undone")
        return problems

    # --- stages ---------------------------------------------------------------------------------------------------

    @property
    def _turning_point(self) -> int:
        steps = self.journal.record.steps
        return next((number for number, step in enumerate(steps) if step.undo is None), len(steps))

    def _no_way_back(self) -> bool:
        record = self.journal.record
        return any(record.steps[number].undo is None for number in record.done | self._doubtful)

    def _stages(self, begin: int, end: int) -> Iterable[list[int]]:
        record = self.journal.record
        waiting = [number for number in range(begin, end) if number not in record.done | record.skipped]
        for _, numbers in groupby(waiting, key=lambda number: record.steps[number].stage):
            yield list(numbers)

    def _stage(self, numbers: list[int], go_on: bool = False) -> list[_Failure]:
        """Raises the first failure, or with go_on tries every step and returns the failures."""
        if len(numbers) <= 1 or self.parallel == 1:
            return self._one_by_one(numbers, go_on)
        with ThreadPoolExecutor(self.parallel, "skep-step") as pool:
            futures: list[Future[None]] = [pool.submit(self._step, number) for number in numbers]
            if not go_on:
                _, unfinished = wait(futures, return_when=FIRST_EXCEPTION)
                for future in unfinished:
                    future.cancel()
        # Leaving the pool has waited for steps under way: they are done or failed now, and undo knows them.
        failures = []
        for future in futures:
            try:
                if not future.cancelled():
                    future.result()
            except _Failure as failure:
                if not go_on:
                    raise
                failures.append(failure)
        return failures

    def _one_by_one(self, numbers: list[int], go_on: bool) -> list[_Failure]:
        failures = []
        for number in numbers:
            try:
                self._step(number)
            except _Failure as failure:
                if not go_on:
                    raise
                failures.append(failure)
        return failures

    # --- one step -------------------------------------------------------------------------------------------------

    def _step(self, number: int) -> None:
        step = self.journal.record.steps[number]
        if self.stopping():
            raise Interrupted
        if self._is_cancelled():
            raise Cancelled
        if number in self.journal.record.started:
            self._repeated.add(number)
        try:
            self.journal.started(number)
            self.observer.step(number, "running")
            answers = self._carry_out(number, step)
            self.journal.done(number)
        except Interrupted:
            raise
        except Cancelled:
            if self.stopping() and not self._is_cancelled():
                raise Interrupted from None
            self.observer.step(number, "failed")
            raise
        except Exception as error:
            self._fail(number, step, error)
            raise _Failure(f"{step.summary}: {error}", number) from error
        if answers and all(answer == FOUND for answer in answers):
            self._note_nothing_done(number, step)
        self.observer.step(number, "done")

    def _fail(self, number: int, step: Step, error: Exception) -> None:
        """Note what a failure leaves. Raises Cancelled when that is why it failed."""
        self.observer.step(number, "failed")
        if not (isinstance(error, HostError) and error.code in _NOTHING_DONE):
            self._doubtful.add(number)
        elif error.index == 0:
            self._note_nothing_done(number, step)
        if self._is_cancelled():
            raise Cancelled from error

    def _note_nothing_done(self, number: int, step: Step) -> None:
        """What a step met on the host and did not make itself is not its own to undo.

        One that is tried again, after a helper or a skepd that went away, may have met its own work.
        """
        if step.text is None and step.undo is not None and number not in self._repeated:
            self.journal.nothing_done(number)

    def _is_cancelled(self) -> bool:
        return self.cancelled() and not self._no_way_back()

    def _carry_out(self, number: int, step: Step) -> tuple[object, ...]:
        """Returns the host's answers to the step's requests."""

        def progress(done: int, total: int) -> None:
            self.observer.step(number, "running", done, total)

        if step.text is not None:
            self.texts.write(step.text)
        work = step.work
        if work is not None:
            given_up = lambda: self.stopping() or self._is_cancelled()  # noqa: E731
            self._patiently(number, lambda: self.worker(self.host, work, progress, given_up))
        if not step.requests:
            return ()
        return self._patiently(number, lambda: self.host.perform(step.requests, progress))

    def _patiently(self, number: int, act: Callable[[], T]) -> T:
        """Do it again when the helper went away meanwhile: everything may be repeated."""
        tries, pauses = LOST_TRIES, self._pauses()
        while True:
            try:
                return act()
            except HostError as error:
                tries -= 1
                if error.code != "lost" or tries == 0:
                    raise
                self._repeated.add(number)
                self._wait_for_helper(error, next(pauses))

    def _wait_for_helper(self, error: HostError, pause: float) -> None:
        if self.stopping():
            raise Interrupted from error
        self.observer.log(f"the helper went away ({error}); asking again")
        self.sleep(pause)

    @staticmethod
    def _pauses() -> Iterator[float]:
        pause, longest = LOST_SECONDS
        while True:
            yield pause
            pause = min(2 * pause, longest)

    # --- undoing --------------------------------------------------------------------------------------------------

    def _undo_step(self, number: int, step: Step) -> None:
        if step.text is not None:
            change = step.text
            self.texts.write(TextChange(ref=change.ref, before=change.after, after=change.before))
        if step.undo is None and number in self.journal.record.done:
            raise HostError("failed", "this step cannot be undone")
        for request in step.undo or ():
            self._undo_request(request)

    def _undo_request(self, request: object) -> None:
        """What is missing already needs no undoing: the step may have failed before it made anything."""
        tries = UNDO_TRIES
        for pause in self._pauses():
            try:
                self.host.perform((request,))
                return
            except HostError as error:
                if error.code == "missing":
                    return
                if error.code == "lost":
                    self._wait_for_helper(error, pause)
                    continue
                # Also a cancel that came late and hit the undoing that it asked for.
                tries -= 1
                if tries == 0:
                    raise
                self.observer.log(f"undoing failed ({error}); trying again")
                self.sleep(pause)


class _Failure(StepFailed):
    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.number = number
