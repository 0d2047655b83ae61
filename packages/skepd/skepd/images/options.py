"""How patiently images are pulled, and the errors that end it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """connections: ranges fetched at a time, over all mirrors; each holds one chunk (4 MiB) in memory.

    connect_seconds and stall_seconds: the longest wait for a connection and for the next byte. minimum_rate: bytes
    per second below which a request is given up (it is tried elsewhere or again). tries: of one chunk at one
    mirror. rest_seconds: how long a mirror rests after a failure, times the failures in a row, at most ten times.
    hedge_seconds: when nothing else is left to fetch, a chunk that takes longer than this is fetched from another
    mirror too. ca_file: certificates to trust instead of the system's.
    """

    connections: int = 4
    connect_seconds: float = 10
    stall_seconds: float = 20
    minimum_rate: int = 8 << 10
    tries: int = 3
    rest_seconds: float = 0.5
    hedge_seconds: float = 5
    manifest_seconds: float = 120
    ca_file: Path | None = None


class PullError(Exception):
    """The image was not pulled and nothing of it is visible. The text says which chunk and which mirror, and why."""


class PullCancelled(PullError):
    """The caller's `cancelled` said so. What was verified is kept, and the next pull goes on from there."""


class MirrorError(Exception):
    """A mirror did not give what was asked for. lasting: asking it again is useless."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting
