"""How a request is carried out: a table from request type to handler, one table per platform.

A platform's table is the sum of the HANDLERS of its modules (one module per host tool). Handlers run in order, one
connection at a time; those in LONG run in a process of their own, with progress, a deadline and a cancel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .policy import Policy


@dataclass
class Failure(Exception):
    """A request that was understood and allowed but could not be done. code: as in skepd.host.HostError."""

    code: str
    message: str

    def __str__(self) -> str:
        return self.message


def _no_progress(done: int, total: int) -> None:
    """Nobody listens."""


@dataclass
class Context:
    """What a handler gets besides the request.

    descriptors: received with the request (a handler that does not expect any must not get any: the server refuses
    surplus ones before). answer_descriptors: sent with the answer, closed after it.
    progress(done, total): to be called now and then by long handlers; it raises when the request was cancelled.
    """

    policy: Policy
    peer_uid: int
    descriptors: tuple[int, ...] = ()
    answer_descriptors: list[int] = field(default_factory=list)
    progress: Callable[[int, int], None] = _no_progress


Handler = Callable[[Context, Any], Any]
"""Returns the answer: a message, a tuple of messages, a JSON value or None. Raises Rejected or Failure."""
