"""A small event loop: descriptors, timers, and tasks written as generators that yield futures.

asyncio would do, at several megabytes for each guest.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import sys
import time
from collections.abc import Callable, Generator
from typing import Any

from .protocol import GuardError

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
Task = Generator["Future", Any, Any]
ATTEMPTS, BETWEEN = 3, 0.2
"""Of ``Loop.insist``, and the seconds between them: all of them together take less than a reading waits."""


class Future:
    """A result that comes later. The first outcome counts, later ones are ignored."""

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: Exception | None = None
        self._callbacks: list[Callable[[Future], None]] = []

    def succeed(self, value: Any = None) -> None:
        self._settle(value, None)

    def fail(self, error: Exception) -> None:
        self._settle(None, error)

    def then(self, callback: Callable[[Future], None]) -> None:
        if self.done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def _settle(self, value: Any, error: Exception | None) -> None:
        if self.done:
            return
        self.done, self.value, self.error = True, value, error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


class Loop:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._stopped = False

    def watch(self, descriptor: int, events: int, callback: Callable[[int], None]) -> None:
        """Call callback(events) when the descriptor is ready; replaces an earlier watch, no events end it."""
        known = self._selector.get_map().get(descriptor)
        if not events:
            if known is not None:
                self._selector.unregister(descriptor)
        elif known is None:
            self._selector.register(descriptor, events, callback)
        else:
            self._selector.modify(descriptor, events, callback)

    def unwatch(self, descriptor: int) -> None:
        self.watch(descriptor, 0, lambda events: None)

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), callback))

    def sleep(self, seconds: float) -> Future:
        future = Future()
        self.later(seconds, future.succeed)
        return future

    def ready(self, descriptor: int, events: int, seconds: float) -> Future:
        """A future that succeeds once the descriptor is ready, and fails with `timeout`."""
        future = Future()
        self.watch(descriptor, events, lambda _: future.succeed())
        future.then(lambda _: self.unwatch(descriptor))
        return self.within(future, seconds, "no answer")

    def within(self, future: Future, seconds: float, what: str) -> Future:
        """Let a future fail unless it is done in time."""
        self.later(seconds, lambda: future.fail(GuardError("timeout", f"{what} within {seconds:.0f} s")))
        return future

    def insist(self, attempt: Callable[[], None]) -> Task:
        """Try again what a host that is short of processes, memory or descriptors refuses; raises what the last attempt
        raised. ProcessLookupError is raised at once: what is gone does not come back."""
        for left in reversed(range(ATTEMPTS)):
            try:
                attempt()
                return
            except ProcessLookupError:
                raise
            except (GuardError, OSError):
                if not left:
                    raise
            yield self.sleep(BETWEEN)

    def start(self, task: Task) -> Future:
        """Run a task until it ends; the future returned carries its value or its error."""
        outcome = Future()

        def step(arrived: Future | None) -> None:
            try:
                if arrived is not None and arrived.error is not None:
                    awaited = task.throw(arrived.error)
                else:
                    awaited = task.send(None if arrived is None else arrived.value)
            except StopIteration as end:
                outcome.succeed(end.value)
            except Exception as error:  # noqa: BLE001 - the outcome carries it; one task must not end the others
                if not isinstance(error, GuardError | OSError):
                    sys.excepthook(type(error), error, error.__traceback__)
                outcome.fail(error)
            else:
                awaited.then(step)

        step(None)
        return outcome

    def stop(self) -> None:
        self._stopped = True

    def run(self) -> None:
        """Run until stop() is called."""
        while not self._stopped:
            for key, events in self._selector.select(self._until_next_timer()):
                # An earlier callback of this round may have ended this watch.
                if self._selector.get_map().get(key.fd) is key:
                    key.data(events)
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()
        self._stopped = False

    def _until_next_timer(self) -> float | None:
        if not self._timers:
            return None
        return max(0.0, self._timers[0][0] - time.monotonic())
