"""Faults on demand: what goes wrong at which request."""

from __future__ import annotations

import threading
from dataclasses import dataclass

ACTIONS = (
    "fail",
    "full",
    "hang",
    "helper-dies-before",
    "helper-dies-after",
    "dies-before",
    "dies-after",
    "power-before",
    "power-after",
)


class Died(BaseException):
    """Who called died here, between two instructions: skepd was killed, or the host lost power beneath it.

    A BaseException, because nothing in the code under test may catch it: a test catches it, throws the engine away
    and starts another on the same host.
    """


@dataclass(frozen=True, kw_only=True)
class Fault:
    """action, at the `at`-th changing request from now (1 is the next), once.

    fail: the request fails, nothing is done. full: the same, the disk is full. hang: nothing happens until the
    request is cancelled. helper-dies-before, -after: the helper is gone before, or after doing the request but
    before answering (HostError "lost"); the next request finds a new one. dies-before, -after: the caller is killed
    (Died). power-before, -after: the host loses power, and with it the caller.
    request: the class of requests that count; None: all that change something.
    """

    action: str
    at: int = 1
    request: type | None = None

    def __post_init__(self) -> None:
        if self.action not in ACTIONS or self.at < 1:
            raise ValueError(f"no such fault: {self.action} at {self.at}")


class Faults:
    """Armed faults, and a count of the changing requests so far. Thread-safe."""

    def __init__(self) -> None:
        self.count = 0
        self._armed: list[tuple[Fault, int]] = []
        self._lock = threading.Lock()

    def arm(self, fault: Fault) -> None:
        with self._lock:
            self._armed.append((fault, fault.at))

    def disarm(self) -> None:
        with self._lock:
            self._armed.clear()

    def next(self, request: object) -> str:
        """Count a changing request; the action to take at it, "" for none."""
        with self._lock:
            self.count += 1
            action, left = "", []
            for fault, remaining in self._armed:
                counts = fault.request is None or isinstance(request, fault.request)
                remaining -= counts
                if remaining == 0 and counts:
                    action = fault.action
                else:
                    left.append((fault, remaining))
            self._armed = left
            return action
