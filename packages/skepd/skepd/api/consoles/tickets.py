"""Tickets: each opens one console once, within half a minute, from the page that asked for it. Kept in memory only."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..authorise import Caller
from ..problems import ApiError

LIFE = 30.0
MOST = 10_000
Kind = str
"""serial or screen"""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What a ticket is good for. origin: of the page it was made for; empty for callers that are no browsers."""

    guest: str
    kind: Kind
    origin: str
    caller: Caller
    write: bool
    take: bool


class Tickets:
    """Thread-safe. clock: seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._grants: dict[str, tuple[float, Grant]] = {}

    def issue(self, grant: Grant) -> tuple[str, float]:
        """A ticket, and the seconds for which it is good. Raises ApiError 503 when too many are unused."""
        now = self._clock()
        with self._lock:
            self._grants = {ticket: entry for ticket, entry in self._grants.items() if entry[0] > now}
            if len(self._grants) >= MOST:
                raise ApiError(503, "too many tickets are unused", "try again in a moment", {"Retry-After": "5"})
            ticket = secrets.token_urlsafe(32)
            self._grants[ticket] = (now + LIFE, grant)
        return ticket, LIFE

    def redeem(self, ticket: str, *, guest: str, kind: Kind, origin: str) -> Grant:
        """What it was made for. Raises ApiError 401; whatever comes of it, it is used up."""
        with self._lock:
            expires, grant = self._grants.pop(ticket, (0.0, None))
        if grant is None or expires <= self._clock():
            raise _refused("this ticket was used, has expired, or was never made")
        if (grant.guest, grant.kind) != (guest, kind):
            raise _refused("this ticket is of another console")
        if grant.origin != origin:
            raise _refused("this ticket was made for another page")
        return grant

    def drop(self, key: str) -> None:
        """Those of a session or token that has ended."""
        with self._lock:
            self._grants = {ticket: entry for ticket, entry in self._grants.items() if entry[1].caller.key != key}


def _refused(detail: str) -> ApiError:
    return ApiError(401, detail, "ask for a new one: POST /v1/guests/NAME/tickets")
