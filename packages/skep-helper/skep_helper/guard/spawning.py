"""The helper's side of the spawner: find it, start it when there is none."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import subprocess
import sys

from .. import __version__, platforms
from .protocol import VERSION, GuardError
from .spawner import READY

_PATIENCE = 120.0
"""Seconds; a slow machine that has not compiled its modules yet needs half a minute."""
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def socket_path(run: str) -> str:
    """A helper of another version starts a spawner of its own; the old one leaves with its last guard."""
    return f"{run}/guests/.spawner-{VERSION}-{__version__}.sock"


def connect(run: str) -> socket.socket:
    """A connection to the spawner, which is started when there is none. Raises GuardError(failed)."""
    os.makedirs(f"{run}/guests", mode=0o700, exist_ok=True)
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        return _dial(run)
    lock = os.open(f"{run}/guests/.spawner.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return _dial(run)
        _start(run)
        return _dial(run)
    finally:
        os.close(lock)


_started: list[subprocess.Popen[bytes]] = []
"""Spawners of this process: each learns by its standard input when this process ends."""


def _start(run: str) -> None:
    # -I keeps what the environment says of modules away; we are found where we are also when we are not installed.
    code = f"import sys; sys.path.append({_ROOT!r}); from skep_helper.guard.spawner import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", code, socket_path(run), platforms.driver()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
    )
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], _PATIENCE)[0] or process.stdout.read(1) != READY:
        process.kill()
        process.wait()
        raise GuardError("failed", "the guard spawner does not start; see the helper's log")
    process.stdout.close()
    _started[:] = [other for other in _started if other.poll() is None]
    _started.append(process)


def stop() -> None:
    """Let the spawners that this process started end, each once its last guard has."""
    while _started:
        process = _started.pop()
        assert process.stdin is not None
        process.stdin.close()


def _dial(run: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(socket_path(run))
    except BaseException:
        connection.close()
        raise
    return connection
