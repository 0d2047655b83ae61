"""Holding back whoever guesses: growing delays for an account and for a peer, and a rate for strangers."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .errors import LockedOut

FREE = {"user": 5, "name": 5, "peer": 20}
"""Failures without a delay. user: an account; name: what is none, counted apart so that no flood of invented names
makes Skep forget about an account; peer: an address. An office behind one address is many people."""
LONGEST = 900.0
FORGET = 6 * 3600.0
"""Seconds without a failure after which it is forgotten."""
ENTRIES = 10_000


@dataclass
class _Entry:
    failures: int = 0
    until: float = 0.0
    last: float = 0.0


class Lockout:
    """Keys read KIND:VALUE. Thread-safe; in memory, bounded: of too many, the one quiet for longest is forgotten.

    An attempt counts as failed from its beginning until it succeeds, so that guesses made at once count as well.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, OrderedDict[str, _Entry]] = {kind: OrderedDict() for kind in FREE}

    def attempt(self, keys: Iterable[str]) -> None:
        """Raises LockedOut, which is not counted as a failure."""
        now = self._clock()
        with self._lock:
            entries = [(key, self._entry(key, now)) for key in keys]
            wait = max(entry.until - now for _, entry in entries)
            if wait > 0:
                raise LockedOut(wait)
            for key, entry in entries:
                entry.failures, entry.last = entry.failures + 1, now
                excess = entry.failures - FREE[_kind(key)]
                if excess >= 0:
                    entry.until = now + min(LONGEST, 2.0 ** min(excess, 20))

    def succeeded(self, keys: Iterable[str]) -> None:
        """The account begins anew. The peer gets this attempt back only: who has one password may not use it to go on
        guessing another."""
        with self._lock:
            for key in keys:
                entries = self._entries[_kind(key)]
                if _kind(key) != "peer":
                    entries.pop(key, None)
                elif key in entries:
                    entries[key].failures -= 1
                    entries[key].until = 0.0

    def remaining(self, key: str) -> float:
        """Seconds for which a key is held back."""
        entry = self._entries[_kind(key)].get(key)
        return max(entry.until - self._clock(), 0.0) if entry else 0.0

    def _entry(self, key: str, now: float) -> _Entry:
        entries = self._entries[_kind(key)]
        entry = entries.get(key)
        if entry is None or now - max(entry.last, entry.until) > FORGET:
            entry = entries[key] = _Entry(last=now)
        entries.move_to_end(key)
        if len(entries) > ENTRIES:
            entries.popitem(last=False)
        return entry


class Rate:
    """So many at once, and so many a second, for each peer. Thread-safe; bounded."""

    def __init__(self, burst: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._rate, self._clock = burst, per_second, clock
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, peer: str) -> None:
        """Raises LockedOut when there were too many."""
        now = self._clock()
        with self._lock:
            left, since = self._left.pop(peer, (self._burst, now))
            left = min(self._burst, left + (now - since) * self._rate)
            self._left[peer] = (left - 1 if left >= 1 else left, now)
            if len(self._left) > ENTRIES:
                self._left.popitem(last=False)
        if left < 1:
            raise LockedOut((1 - left) / self._rate)


def _kind(key: str) -> str:
    return key.partition(":")[0]
