"""Challenges that need no memory until they are answered: a number, an end and a code that this process alone makes.

So nobody who asks for many of them makes Skep forget those of others. A challenge is answered once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
import threading
import time
from collections.abc import Callable

LIFE = 300.0
_HEAD = struct.Struct("!d16s")


class Challenges:
    """Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._used: dict[bytes, float] = {}

    def make(self, purpose: str) -> bytes:
        """purpose: what its answer may be used for: the ceremony, the page, the user."""
        head = _HEAD.pack(self._clock() + LIFE, secrets.token_bytes(16))
        return head + self._code(head, purpose)

    def holds(self, challenge: bytes, purpose: str) -> bool:
        """Whether it was made here for this purpose, not long ago."""
        head, code = challenge[: _HEAD.size], challenge[_HEAD.size :]
        if len(head) != _HEAD.size or not hmac.compare_digest(code, self._code(head, purpose)):
            return False
        expires: float = _HEAD.unpack(head)[0]
        return self._clock() < expires

    def use(self, challenge: bytes) -> bool:
        """Use up one that holds and was answered rightly; whether it was the first time."""
        now = self._clock()
        with self._lock:
            self._used = {one: expires for one, expires in self._used.items() if expires > now}
            if challenge in self._used:
                return False
            self._used[challenge] = now + LIFE
            return True

    def _code(self, head: bytes, purpose: str) -> bytes:
        return hmac.digest(self._key, head + purpose.encode(), hashlib.sha256)
