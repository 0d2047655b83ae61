"""What must be closed when a session ends, a token is revoked, or a role changes: open consoles and streams."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Callback = Callable[[str], None]
"""Told the reason, in words for people; from any thread."""


class Endings:
    """Thread-safe. Keys are those of callers: "session:ID", "token:ID"; an empty key never ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[str, list[Callback]] = {}
        self._following: list[Callable[[str, str], None]] = []

    def follow(self, callback: Callable[[str, str], None]) -> None:
        """callback(key, reason) at every end, for good; from any thread."""
        with self._lock:
            self._following.append(callback)

    @contextmanager
    def watch(self, key: str, callback: Callback) -> Iterator[None]:
        """callback(reason) when the key ends, at most once for each end."""
        with self._lock:
            self._watched.setdefault(key, []).append(callback)
        try:
            yield
        finally:
            with self._lock:
                left = self._watched[key]
                left.remove(callback)
                if not left:
                    del self._watched[key]

    def end(self, key: str, reason: str) -> None:
        with self._lock:
            callbacks = list(self._watched.get(key, ())) if key else []
            following = list(self._following) if key else []
        for callback in callbacks:
            callback(reason)
        for follower in following:
            follower(key, reason)
