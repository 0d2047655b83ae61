"""Events: numbered for ever, kept in the index, waited for by any number of readers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from .contract import Event
from .index import Index

BATCH = 1000


class Events:
    """Thread-safe."""

    def __init__(self, index: Index, clock: Callable[[], float] = time.time) -> None:
        self._index, self._clock = index, clock
        self._news = threading.Condition()
        self._latest = 0
        self._listeners: list[Callable[[Event], None]] = []
        self._closed = False

    def emit(self, kind: str, ref: object, **data: Any) -> None:
        event = self._index.add_event(self._clock(), kind, str(ref), data)
        with self._news:
            self._latest = event.number
            self._news.notify_all()

    def tell(self, kind: str, ref: object, **data: Any) -> None:
        """Of this moment only: to those who listen now, without a number, and not kept."""
        event = Event(number=0, time=self._clock(), kind=kind, ref=str(ref), data=data)
        for listener in self._listeners:
            listener(event)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """listener(event) is called with each event that is only told, from the thread that tells it."""
        self._listeners.append(listener)

    def after(self, number: int, timeout: float) -> Iterator[Event]:
        """Events with a higher number; waits at most `timeout` seconds for the first."""
        found = self._index.events(number, BATCH)
        if not found and timeout > 0:
            with self._news:
                self._news.wait_for(lambda: self._latest > number or self._closed, timeout)
            found = self._index.events(number, BATCH)
        yield from found

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify_all()
