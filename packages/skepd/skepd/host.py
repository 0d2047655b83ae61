"""The seam to a host: typed requests in, typed answers out.

Three things implement Host: ``skepd.helper_client`` (the root helper of this machine, whatever its platform),
``skepd.platform.sim`` (a simulated host in memory) and recordings in tests. Plan and apply cannot tell which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from skep_helper.vocabulary import HelloReading


@dataclass
class HostError(Exception):
    """A request that was refused or failed on the host. Nothing of it is half done unless `detail` says so.

    code: rejected (malformed or against the policy), busy, missing, exists, conflict, full, unsupported, timeout,
    cancelled, failed (a tool of the host failed), lost (the helper went away: the request may or may not be done).
    """

    code: str
    message: str
    request: str = ""
    index: int = 0

    def __str__(self) -> str:
        return f"{self.request}: {self.message}" if self.request else self.message


Progress = Callable[[int, int], None]
"""Called with (done, total) of a long request, in bytes or items."""


class Host(Protocol):
    """A host that carries out requests. Thread-safe; every call may come from another thread."""

    def hello(self) -> HelloReading:
        """Who answers, and which facilities work."""
        ...

    def perform(self, requests: Sequence[Any], progress: Progress | None = None) -> tuple[Any, ...]:
        """Carry out requests in order, one round trip; stops at the first that fails.

        Returns one answer for each request (None where it has no answer). Raises HostError, whose index says which
        request failed; those before it are done.
        """
        ...

    def open(self, request: Any) -> tuple[Any, int]:
        """Carry out a request that answers with a descriptor. Returns (answer, descriptor); the caller closes it."""
        ...

    def stream(self, request: Any, descriptor: int, progress: Progress | None = None) -> Any:
        """Carry out a request that reads or writes this descriptor (vocabulary.streams); returns its answer.

        The descriptor stays the caller's, who closes it to let the other end see the end of the data.
        """
        ...

    def cancel(self) -> None:
        """End the long requests that are under way in other threads; they raise HostError("cancelled")."""
        ...

    def close(self) -> None: ...
