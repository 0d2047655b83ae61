"""A tool run to its end, or given up: also one that waits in the kernel, where no signal ends it.

Imports next to nothing, for guards use it too.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

_TICK = 0.25
_KILLED = 5.0
"""Seconds that a process gets to be gone once it was killed."""
_abandoned: list[subprocess.Popen[bytes]] = []
"""Processes that were not: looked after now and then, so that none stays a zombie for ever."""


class Late(Exception):
    """It did not end in time; the text says which process of which tool, and what became of it."""


def finish(
    argv: Sequence[str],
    stdin: bytes,
    environment: Mapping[str, str],
    timeout: float,
    tick: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run it. Raises Late, not much later than after `timeout` seconds whatever it does, and OSError.

    tick: called several times a second meanwhile (then without stdin); when it raises, the tool is ended.
    """
    _abandoned[:] = [process for process in _abandoned if process.poll() is None]
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    try:
        output, errors = _communicate(process, stdin, timeout, tick)
    except subprocess.TimeoutExpired:
        raise Late(f"{argv[0]} did not end within {timeout:.0f} s{_kill(process, argv)}") from None
    except BaseException:
        _kill(process, argv)
        raise
    return subprocess.CompletedProcess(argv, process.returncode, output, errors)


def _communicate(
    process: subprocess.Popen[bytes], stdin: bytes, timeout: float, tick: Callable[[], None] | None
) -> tuple[bytes, bytes]:
    if tick is None:
        return process.communicate(stdin, timeout)
    assert not stdin, "communicate() forgets what it was given once it was interrupted"
    end = time.monotonic() + timeout
    while True:
        try:
            return process.communicate(timeout=min(_TICK, max(end - time.monotonic(), 0.0)))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= end:
                raise
        tick()


def _kill(process: subprocess.Popen[bytes], argv: Sequence[str]) -> str:
    """End it; what is to be said when that does not work."""
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_KILLED)
        return ""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    if process.poll() is not None:  # a process that it began has its output
        return ""
    _abandoned.append(process)
    return (
        f", and process {process.pid} ({' '.join(argv)[:120]}) cannot be killed: it waits in the kernel; "
        f"see for what (FreeBSD: procstat -kk {process.pid}; Linux: /proc/{process.pid}/stack)"
    )
