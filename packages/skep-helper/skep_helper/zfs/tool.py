"""zfs(8) and zpool(8): run to their end within a deadline; what they refuse as a code and a sentence that says what to
do (their texts as OpenZFS 2.1 to 2.3 write them)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from .. import run
from ..handlers import Failure
from ..storage.locks import Progress

QUICK, SLOW = 60.0, 900.0
"""Seconds for a command: most end within a transaction group; those that free or mount much may take longer."""
_PATIENCE, _PAUSE = 20.0, 0.1
_SUBJECTS = (re.compile(r"cannot [^']*'([^']+)'(?: snapshot)?: (.*)$"), re.compile(r"cannot [a-z ]*? (\S+?): (.*)$"))
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (r"I/O is currently suspended|pool is suspended", "failed",
     "the pool has lost its disks: bring them back, then `zpool clear {pool}` (zpool status {pool})"),
    (r"dataset is busy|or dataset is busy|target is busy|[Dd]evice busy", "busy",
     "something has it open (fuser, fstat); end that and try again"),
    (r"out of space|greater than available space|[Nn]o space left", "full",
     "free some space in the pool or add a disk to it (zfs list -o space {pool})"),
    (r"quota", "full", "raise the quota (zfs get quota,refquota {name}), or free some space below it"),
    (r"dependent clones", "conflict", "promote them (zfs promote) or remove them first"),
    (r"no such pool", "missing", "import it: zpool import {pool}"),
    (r"dataset does not exist|could not find any snapshots|no such (snapshot|tag)", "missing", "it is not there"),
    (r"already exists|destination .* exists", "exists", "remove or rename it first"),
    (r"more recent snapshots or bookmarks exist", "conflict",
     "destroy or move what is newer (zfs list -t snapshot,bookmark {name})"),
    (r"permission denied|[Nn]ot permitted", "failed", "this must be done by root, outside of any jail"),
    (r"name is too long|too long", "rejected", "choose shorter names, or a dataset nearer to the root of the pool"),
    (r"read.?only", "failed", "the pool is imported read-only (zpool get readonly {pool})"),
)  # fmt: skip
_HELD = "it is held (zfs holds {name}): release it with zfs release TAG {name}, or wait until a transfer has ended"


def zfs(*words: str, progress: Progress | None = None, timeout: float = QUICK) -> str:
    """Its standard output. progress: called meanwhile, so that it can be cancelled. Raises Failure."""
    return _command("zfs", words, progress, timeout)


def zpool(*words: str, timeout: float = QUICK) -> str:
    return _command("zpool", words, None, timeout)


def patient_zfs(*words: str, progress: Progress | None = None, timeout: float = SLOW) -> str:
    """The same, tried again for some seconds while the dataset is busy: whoever learns of a new device (udev, skepd
    reading a definition) has it open for moments."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return zfs(*words, progress=progress, timeout=timeout)
        except Failure as failure:
            if failure.code != "busy" or time.monotonic() >= end:
                raise
        if progress:
            progress(0, 0)
        time.sleep(_PAUSE)


def _command(program: str, words: tuple[str, ...], progress: Progress | None, timeout: float) -> str:
    tick: Callable[[], None] | None = (lambda: progress(0, 0)) if progress else None
    try:
        done = run.attempt([program, *words], timeout=timeout, tick=tick)
    except Failure as failure:
        if failure.code != "timeout":
            raise
        what = f"{program} {words[0]} did not end within {timeout:.0f} s"
        raise Failure("timeout", f"{what}: is the pool suspended or very busy? See zpool status") from None
    if done.status != 0:
        raise explain(f"{program} {words[0]}", done.errors.decode(errors="replace"))
    return done.output.decode(errors="replace")


def explain(command: str, errors: str) -> Failure:
    """What a command wrote to stderr, as a code of skepd.host.HostError and a sentence."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()] or ["no message"]
    first = next((line for line in lines if "cannot " in line), lines[0])
    found = next((match for pattern in _SUBJECTS if (match := pattern.search(first))), None)
    name, reason = (found[1], found[2]) if found else ("", first)
    for pattern, code, advice in _KNOWN:
        if re.search(pattern, first):
            if code == "busy" and "@" in name and "destroy" in first:
                code, advice = "conflict", _HELD
            shown = f"{name}: {reason}" if name else reason
            others = _others(lines) if code == "conflict" else ""
            return Failure(code, f"{shown}{others}; {advice.format(name=name, pool=name.partition('/')[0] or 'POOL')}")
    return Failure("failed", f"{command}: {first}")


def _others(lines: list[str]) -> str:
    """The datasets that are listed below "use '-r' to destroy the following datasets:"."""
    names = [line for line in lines if re.fullmatch(r"[^ ]+/[^ ]+", line)]
    more = " and more" if len(names) > 5 else ""
    return f" ({', '.join(names[:5])}{more})" if names else ""
