"""One viewer of bhyve's screen. The password stays here: we log in to bhyve, the viewer needs to show none.

RFB 3.8, RFC 6143. bhyve serves one viewer at a time; another gets no byte until that one leaves.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from ...guard.loop import READ, WRITE, Loop, Task
from ...guard.protocol import GuardError
from . import des

VERSION = b"RFB 003.008\n"
PATIENCE = 10.0
"""Seconds for each step of a handshake."""
_OLD, _MIDDLE = b"RFB 003.003\n", b"RFB 003.007\n"
_NONE, _PASSWORD = 1, 2
_CHUNK = 64 * 1024


class Screen:
    """connection: to bhyve, owned by this object from now on."""

    def __init__(self, loop: Loop, connection: socket.socket, password: bytes) -> None:
        self._loop = loop
        self._bhyve = connection
        self._password = password
        self._viewer: socket.socket | None = None
        connection.setblocking(False)
        self.closed = False

    def open(self) -> Task:
        """Log in; returns the viewer's descriptor, which is the caller's. Raises GuardError: busy, failed."""
        try:
            yield from self._log_in()
        except (GuardError, OSError):
            self.close()
            raise
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        self._viewer = ours
        self._loop.start(self._serve(ours)).then(lambda outcome: self.close() if outcome.error else None)
        return theirs.detach()

    def close(self) -> None:
        """Also ends the viewer's connection."""
        self.closed = True
        for connection in (self._bhyve, self._viewer):
            if connection is not None and connection.fileno() >= 0:
                self._loop.unwatch(connection.fileno())
                connection.close()

    def _log_in(self) -> Task:
        try:
            yield from self._receive(self._bhyve, len(VERSION))
        except GuardError as error:
            if error.code != "timeout":
                raise
            raise GuardError("busy", "somebody else looks at this screen; bhyve serves one viewer at a time") from None
        self._bhyve.sendall(VERSION)
        count = (yield from self._receive(self._bhyve, 1))[0]
        kinds = yield from self._receive(self._bhyve, count)
        if _PASSWORD in kinds:
            self._bhyve.sendall(bytes([_PASSWORD]))
            challenge = yield from self._receive(self._bhyve, 16)
            self._bhyve.sendall(des.respond(self._password, challenge))
        else:
            self._bhyve.sendall(bytes([_NONE]))
        if any((yield from self._receive(self._bhyve, 4))):
            raise GuardError("failed", "bhyve's screen does not take the password it was started with")

    def _serve(self, viewer: socket.socket) -> Task:
        """Our side of the viewer's handshake, and then what either side says to the other."""
        viewer.sendall(VERSION)
        version = yield from self._receive(viewer, len(VERSION))
        if version == _OLD:
            viewer.sendall(bytes([0, 0, 0, _NONE]))
        else:
            viewer.sendall(bytes([1, _NONE]))
            yield from self._receive(viewer, 1)
            if version != _MIDDLE:
                viewer.sendall(bytes(4))
        Relay(self._loop, self._bhyve, viewer, self.close)

    def _receive(self, connection: socket.socket, length: int) -> Task:
        data = b""
        while len(data) < length:
            yield self._loop.ready(connection.fileno(), READ, PATIENCE)
            part = connection.recv(length - len(data))
            if not part:
                raise GuardError("failed", "the other side of the screen closed its connection")
            data += part
        return data


class Relay:
    """Bytes both ways between two sockets until one ends; a slow side holds the other up, and nothing else.

    over(): called at the end, to close both.
    """

    def __init__(self, loop: Loop, one: socket.socket, other: socket.socket, over: Callable[[], None]) -> None:
        self._loop = loop
        self._peers = {one.fileno(): other.fileno(), other.fileno(): one.fileno()}
        self._waiting = dict.fromkeys(self._peers, b"")
        self._over = over
        for descriptor in self._peers:
            self._watch(descriptor)

    def _watch(self, descriptor: int) -> None:
        """Read from it when its peer has taken everything; write to it what is left."""
        events = (READ if not self._waiting[self._peers[descriptor]] else 0) | (
            WRITE if self._waiting[descriptor] else 0
        )
        self._loop.watch(descriptor, events, lambda ready: self._ready(descriptor, ready))

    def _ready(self, descriptor: int, events: int) -> None:
        peer = self._peers[descriptor]
        try:
            if events & READ:
                data = os.read(descriptor, _CHUNK)
                if not data:
                    self._over()
                    return
                self._waiting[peer] = data
            target = peer if events & READ else descriptor
            self._waiting[target] = self._waiting[target][os.write(target, self._waiting[target]) :]
        except BlockingIOError:
            pass
        except OSError:
            self._over()
            return
        self._watch(descriptor)
        self._watch(peer)
