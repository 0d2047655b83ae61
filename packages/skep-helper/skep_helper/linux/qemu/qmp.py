"""QEMU's monitor protocol over a Unix socket, driven by the guard's loop (QEMU's docs/interop/qmp-spec.txt)."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable
from typing import Any

from ...guard.loop import READ, Future, Loop, Task
from ...guard.protocol import GuardError

ANSWER = 60.0
"""Seconds in which QEMU answers any command that the guard gives; a hung disk can make it late."""
_MAX_LINE = 16 << 20
_MAX_REASON = 1000


class Qmp:
    """One connection. on_event(name, data), on_lost(): called from the loop."""

    def __init__(self, loop: Loop, on_event: Callable[[str, dict[str, Any]], None], on_lost: Callable[[], None]):
        self._loop = loop
        self._on_event = on_event
        self._on_lost = on_lost
        self._socket: socket.socket | None = None
        self._received = b""
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future] = {}

    def connect(self, path: str, patience: float) -> Task:
        """Connect and leave the negotiation behind; raises GuardError(timeout) and OSError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Before connecting: the kernel makes us wait for a QEMU that does not accept, and others wait for us.
        self._socket.setblocking(False)
        self._socket.connect(path)
        self._received = b""
        greeting = Future()
        self._waiting[0] = greeting
        self._loop.watch(self._socket.fileno(), READ, lambda _: self._read())
        yield self._loop.within(greeting, patience, "QEMU's monitor did not answer")
        yield self.execute("qmp_capabilities")

    def execute(self, command: str, arguments: dict[str, Any] | None = None, descriptor: int = -1) -> Future:
        """A future of the command's return value; it fails with what QEMU says. descriptor: goes along (getfd)."""
        number = next(self._numbers)
        future = Future()
        if self._socket is None:
            future.fail(GuardError("lost", "the connection to QEMU's monitor is gone"))
            return future
        message: dict[str, Any] = {"execute": command, "id": number}
        if arguments:
            message["arguments"] = arguments
        self._waiting[number] = future
        future.then(lambda _: self._forget(number))
        try:
            self._send(json.dumps(message).encode() + b"\n", descriptor)
        except OSError as error:
            future.fail(GuardError("lost", f"QEMU's monitor does not take commands: {error.strerror}"))
        return self._loop.within(future, ANSWER, f"QEMU did not answer {command}")

    def close(self) -> None:
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None
        for future in tuple(self._waiting.values()):
            future.fail(GuardError("lost", "QEMU ended, or its monitor closed"))

    def _forget(self, number: int) -> None:
        self._waiting.pop(number, None)

    def _send(self, data: bytes, descriptor: int) -> None:
        """Commands are far smaller than the socket's buffer, and QEMU reads them one by one: no room means trouble."""
        assert self._socket is not None
        sent = socket.send_fds(self._socket, [data], [descriptor] if descriptor >= 0 else [])
        if sent != len(data):
            raise BlockingIOError(0, "its buffer is full")

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._received += data
        if not data or len(self._received) > _MAX_LINE:
            self.close()
            self._on_lost()
            return
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            if line.strip() and self._socket is not None:
                self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        """A guest that took its QEMU over can write anything here; what is no QMP ends the connection, not us."""
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError("not an object")
        except (ValueError, RecursionError):
            self.close()
            self._on_lost()
        else:
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if "event" in message:
            data = message.get("data")
            self._on_event(str(message["event"]), data if isinstance(data, dict) else {})
            return
        number = 0 if "QMP" in message else message.get("id")
        future = self._waiting.pop(number, None) if isinstance(number, int) else None
        if future is None:
            return
        if "error" in message:
            error = message["error"] if isinstance(message["error"], dict) else {}
            future.fail(GuardError("failed", f"QEMU: {error.get('desc', 'no reason given')!s:.{_MAX_REASON}}"))
        else:
            future.succeed(message.get("return"))
