"""What `zfs send` and `zfs receive` refuse, as a code and a sentence that says what to do."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from ...handlers import Failure

_READER_GONE = "whoever reads the stream went away before its end; repeat it, with the reader's token"
_THERE = (
    "there is one already, with other snapshots; send the changes since a snapshot that both have, or remove the "
    "replica, or take another name"
)
STALE = "the token is stale, what it is for is gone; abandon what was received and begin anew"

_SEND = (
    ("resume token is corrupt", "rejected", "the token is no token of an interrupted stream; begin anew without it"),
    ("no longer", "missing", STALE),
    ("does not exist", "missing", "the snapshot, or the one to begin from, is gone; take another one"),
    ("not an earlier snapshot", "conflict", "the one to begin from is not older; exchange them or send it whole"),
    ("signal received", "failed", _READER_GONE),
    ("Broken pipe", "failed", _READER_GONE),
    ("busy", "busy", "it is in use; try again in a moment"),
    ("I/O error", "failed", "the pool cannot read it: look at zpool status"),
)  # fmt: skip
_RECEIVE = (
    ("out of space", "full", "no space left in the pool; free some, then resume or abandon what was received"),
    ("quota exceeded", "full", "the quota is used up; raise it, then resume or abandon what was received"),
    ("Partially received snapshot is saved", "failed",
     "the stream ended early; what came is kept: resume it with the token that ReadReplica tells, or abandon it"),
    ("partially-complete state", "conflict",
     "an interrupted stream is there: resume it with the token that ReadReplica tells, or abandon it"),
    ("does not match incremental source", "conflict",
     "the newest snapshot here is not the one that the stream begins from; send since a snapshot that both have"),
    ("has been modified", "conflict",
     "it was changed here since its newest snapshot; roll it back to that, or receive under another name"),
    ("exists", "exists", _THERE),
    ("destination has snapshots", "exists", _THERE),
    ("incomplete stream", "failed", "the stream ended early; send it again"),
    ("failed to read from stream", "failed", "the stream ended before it began; look at the sender"),
    ("checksum mismatch", "failed", "the stream was damaged on its way; send it again"),
    ("invalid stream", "rejected", "this is not a stream that this host's OpenZFS can read"),
    ("resume point", "conflict",
     "the stream does not go on where the interrupted one ended: ask ReadReplica for the token, or abandon it"),
    ("must be upgraded", "unsupported", "the stream needs features that this pool has not switched on"),
    ("unsupported", "unsupported", "the stream needs features that this host's OpenZFS does not have"),
    ("does not exist", "missing", "what it builds on is not here; receive the guest's folder first, or send it whole"),
    ("busy", "busy", "it is in use or being received; try again in a moment"),
    ("suspended", "failed", "the pool is suspended: bring its disks back, then zpool clear"),
)  # fmt: skip


def sending(what: str, told: Sequence[str], status: int | None) -> Failure:
    if status == -signal.SIGPIPE:
        return Failure("failed", f"{what} was not sent: {_READER_GONE}")
    return _failure(_SEND, what, "sent", told, status)


def receiving(what: str, told: Sequence[str], status: int | None) -> Failure:
    return _failure(_RECEIVE, what, "received", told, status)


def _failure(
    table: Sequence[tuple[str, str, str]], what: str, done: str, told: Sequence[str], status: int | None
) -> Failure:
    text = "\n".join(told)
    for pattern, code, advice in table:
        if pattern in text:
            return Failure(code, f"{what} was not {done}: {advice}")
    lines = [line for line in told if line.strip()] or ["it said nothing"]
    return Failure("failed", f"{what} was not {done}: zfs: {lines[-1]} (exit {status})")
