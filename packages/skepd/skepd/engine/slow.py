"""A reading that takes seconds: kept, renewed beside those who ask, never waited for longer than they like."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from skepd.host import HostError

T = TypeVar("T")
log = logging.getLogger("skepd.slow")


class Kept(NamedTuple, Generic[T]):
    """value: None when there is none yet. age: its seconds. trouble: why the last try gave none."""

    value: T | None
    age: float | None
    trouble: str


class Slow(Generic[T]):
    """Thread-safe. life: seconds after which it is read anew."""

    def __init__(self, read: Callable[[], T], life: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._life, self._clock = read, life, clock
        self._changed = threading.Condition()
        self._value: T | None = None
        self._when: float | None = None
        self._trouble, self._busy = "", False

    def get(self, patience: float) -> Kept[T]:
        """What there is; when there is nothing yet, waits so many seconds for it."""
        with self._changed:
            if not self._busy and (self._when is None or self._clock() - self._when > self._life):
                self._busy = True
                threading.Thread(target=self._renew, name="slow-reading", daemon=True).start()
            if self._value is None:
                self._changed.wait_for(lambda: not self._busy, patience)
            age = None if self._when is None or self._value is None else self._clock() - self._when
            return Kept(self._value, age, self._trouble)

    def _renew(self) -> None:
        value, trouble = None, ""
        try:
            value = self._read()
        except (HostError, OSError) as error:
            trouble = str(error)
        except Exception as error:
            log.exception("a slow reading failed")
            trouble = repr(error)
        with self._changed:
            if value is not None:
                self._value = value
            self._when, self._trouble, self._busy = self._clock(), trouble, False
            self._changed.notify_all()
