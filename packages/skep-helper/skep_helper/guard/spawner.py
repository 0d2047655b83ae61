"""The process that guards are forked from: small, single-threaded, started by the helper, ended with it.

Guards share its memory, and do not need to start an interpreter. It is reached by a socket in a folder that is
root's alone; a message and its descriptors are handed on to a new guard, which answers by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from . import guard, protocol, state
from .protocol import GuardError

_READY = b"r"
_PATIENCE = 30.0


def socket_path(run: str) -> str:
    return f"{run}/guests/.spawner.sock"


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
"""Spawners of this process: each ends when its standard input closes, which is when this process ends."""


def _start(run: str) -> None:
    code = "from skep_helper.guard.spawner import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", code, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    )
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], _PATIENCE)[0] or process.stdout.read(1) != _READY:
        process.kill()
        process.wait()
        raise GuardError("failed", "the guard spawner does not start; see the helper's log")
    process.stdout.close()
    _started[:] = [other for other in _started if other.poll() is None]
    _started.append(process)


def stop() -> None:
    """End the spawners that this process started; guards live on."""
    while _started:
        process = _started.pop()
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def _dial(run: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(socket_path(run))
    except BaseException:
        connection.close()
        raise
    return connection


def main() -> None:
    """The spawner process: serve until standard input closes."""
    run = sys.argv[1]
    for name in guard.DRIVERS:
        guard.driver_module(name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = socket_path(run)
    state.remove(path)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(64)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.disable()
    gc.freeze()
    os.write(1, _READY)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)
    identity = os.stat(path).st_ino
    while 0 not in select.select([listener.fileno(), 0], [], [])[0]:
        _accept(listener)
    # A newer spawner may have taken the name meanwhile.
    with contextlib.suppress(FileNotFoundError):
        if os.stat(path).st_ino == identity:
            os.unlink(path)


def _accept(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    descriptors: list[int] = []
    try:
        connection.settimeout(_PATIENCE)
        message, descriptors = protocol.receive(connection)
        if message is not None:
            _fork(listener, connection, message, descriptors)
    except (GuardError, OSError) as error:
        with contextlib.suppress(OSError):
            protocol.send(connection, {"error": "failed", "message": f"guard spawner: {error}"})
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        connection.close()


def _fork(
    listener: socket.socket, connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int]
) -> None:
    """Fork twice: the guard is nobody's child, so nobody needs to wait for it."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    status = 1
    try:
        os.setsid()
        if os.fork() == 0:
            _become(listener, connection, message, descriptors)
        status = 0
    except BaseException:  # noqa: BLE001 - this is the end of the process
        traceback.print_exc()
    finally:
        os._exit(status)


def _become(
    listener: socket.socket, connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int]
) -> None:
    """The guard, from its first breath."""
    listener.close()
    os.dup2(1, 0)
    connection.settimeout(None)
    gc.enable()
    _name_process()
    try:
        guard.run(connection, message, descriptors)
    except BaseException as error:
        with contextlib.suppress(OSError, GuardError):
            protocol.send(connection, {"error": "failed", "message": f"guard: {error!r:.200}"})
        raise


def _name_process() -> None:
    """What ps shows. Only Linux takes the name from a file."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as stream:
        stream.write("skep-guard")
