"""The process that guards are forked from: small, single-threaded, started by a helper (see ``spawning``).

Guards share its memory, and do not need to start an interpreter. It is reached by a socket in a folder that is
root's alone; a message and its descriptors are handed on to a new guard, which answers by itself. It lives as long as
the helper that started it or any of its guards, so that memory stays shared and the next helper finds it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from . import guard, protocol, state
from .protocol import GuardError

READY = b"r"
_PATIENCE = 30.0


def main() -> None:
    """The spawner process. argv: the path of its socket, the driver of this platform's VMM (imported once for all
    guards). Standard input closes when its helper is gone."""
    path = sys.argv[1]
    for name in sys.argv[2:]:
        guard.driver_module(name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    state.remove(path)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(64)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.disable()
    gc.freeze()
    os.write(1, READY)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)
    os.close(null)
    identity = os.stat(path).st_ino
    _serve(listener)
    # A newer spawner may have taken the name meanwhile.
    with contextlib.suppress(FileNotFoundError):
        if os.stat(path).st_ino == identity:
            os.unlink(path)


def _serve(listener: socket.socket) -> None:
    """Until the helper is gone, and then until every guard is: each has the writing end of a pipe."""
    alive, held = os.pipe()
    waiting = [listener.fileno(), 0]
    while True:
        ready = select.select(waiting, [], [])[0]
        if 0 in ready:
            os.close(held)
            waiting = [listener.fileno(), alive]
        elif alive in ready:
            return
        else:
            _accept(listener)


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
    """The guard is a child that nobody waits for: SIGCHLD is ignored here."""
    if os.fork():
        return
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _become(listener, connection, message, descriptors)
        status = 0
    except BaseException:  # noqa: BLE001 - this is the end of the process
        sys.excepthook(*sys.exc_info())
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
