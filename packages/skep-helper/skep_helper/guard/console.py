"""The serial line of a guest: what it writes goes to the history and to readers, what the one writer types goes in.

A reader is an offset into the history, never a buffer: one that does not read costs nothing and delays nobody; when
it reads again it goes on where it was, or at the oldest byte still kept.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys

from .history import History
from .loop import READ, WRITE, Loop
from .protocol import GuardError

CHUNK = 64 * 1024
TYPED_AHEAD = 4096
"""Bytes taken from the writer while the guest does not read its serial line."""
MOST_VIEWERS = 200
LAST_READS = 64
"""Several times what the line can hold: the guest is gone, but a friend of it may have the other end, and write."""


class Viewer:
    """One open console."""

    def __init__(self, connection: socket.socket, offset: int) -> None:
        self.connection = connection
        self.descriptor = connection.fileno()
        self.offset = offset


class Console:
    """The serial line is given by ``attach``; until then nothing is read, and what is typed waits."""

    def __init__(self, loop: Loop, history: History) -> None:
        self._loop = loop
        self._history = history
        self._output = -1
        self._typed = -1
        self._viewers: dict[int, Viewer] = {}
        self._writer: Viewer | None = None
        self._pending = b""

    def attach(self, output: int, typed: int) -> None:
        """output, typed: two descriptors of the line (non-blocking), owned by this object from now on; -1: no line."""
        self._detach()
        if output < 0:
            return
        self._output = output
        self._typed = typed
        self._loop.watch(output, READ, lambda _: self._pump())
        self._type()

    def _detach(self) -> None:
        for descriptor in (self._output, self._typed):
            if descriptor >= 0:
                self._loop.unwatch(descriptor)
                os.close(descriptor)
        self._output = self._typed = -1

    def _pump(self) -> None:
        self.pump()

    def pump(self) -> bool:
        """Take what the guest wrote; False when there was nothing."""
        if self._output < 0:
            return False
        try:
            data = os.read(self._output, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self._loop.unwatch(self._output)
            return False
        try:
            self._history.append(data)
        except OSError as error:
            # A full disk costs history, never the guest or its guard.
            sys.stderr.write(f"{len(data)} bytes of serial output are lost: {error}\n")
        for viewer in tuple(self._viewers.values()):
            self._feed(viewer)
        return True

    def open(self, *, writer: bool, take: bool, offset: int | None = None) -> tuple[socket.socket, int]:
        """A new console, and the offset of its first byte; the caller closes its end.

        offset: of the history, or the next that is kept; negative: so many bytes before its end; None: from now on.
        Raises GuardError(busy) when another one writes.
        """
        if writer and self._writer is not None:
            if not take:
                raise GuardError("busy", "somebody else writes to this console: take it over, or open it read-only")
            self._close(self._writer)
        if len(self._viewers) >= MOST_VIEWERS:
            raise GuardError("busy", f"{MOST_VIEWERS} consoles of this guest are open already; close one of them")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        viewer = Viewer(ours, self._history.place(offset))
        self._viewers[viewer.descriptor] = viewer
        if writer:
            self._writer = viewer
            self._pending = b""
        begins = viewer.offset
        self._watch(viewer)
        return theirs, begins

    def close(self) -> None:
        """Read the line to its end, give viewers what they take without waiting, close everything."""
        for _ in range(LAST_READS):
            if not self.pump():
                break
        for viewer in tuple(self._viewers.values()):
            self._close(viewer)
        self._detach()

    def _feed(self, viewer: Viewer) -> None:
        while viewer.offset < self._history.end:
            offset, data = self._history.read(viewer.offset, CHUNK)
            try:
                sent = viewer.connection.send(data)
            except BlockingIOError:
                break
            except OSError:
                self._close(viewer)
                return
            viewer.offset = offset + sent
        self._watch(viewer)

    def _watch(self, viewer: Viewer) -> None:
        """Wait for what the viewer is waited for: its bytes (or its end), and room for ours when it lags."""
        full = viewer is self._writer and len(self._pending) >= TYPED_AHEAD
        events = (0 if full else READ) | (WRITE if viewer.offset < self._history.end else 0)
        self._loop.watch(viewer.descriptor, events, lambda ready: self._ready(viewer, ready))

    def _ready(self, viewer: Viewer, events: int) -> None:
        if events & READ:
            try:
                data = viewer.connection.recv(TYPED_AHEAD)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close(viewer)
                return
            if viewer is self._writer:
                self._pending += data
                self._type()
        if events & WRITE and viewer.descriptor in self._viewers:
            self._feed(viewer)

    def _type(self) -> None:
        """Give the guest what was typed; wait for room when it does not take it."""
        if self._typed < 0:
            return
        if self._pending:
            with contextlib.suppress(BlockingIOError):
                self._pending = self._pending[os.write(self._typed, self._pending) :]
        self._loop.watch(self._typed, WRITE if self._pending else 0, lambda _: self._type())
        if self._writer is not None:
            self._watch(self._writer)

    def _close(self, viewer: Viewer) -> None:
        self._loop.unwatch(viewer.descriptor)
        self._viewers.pop(viewer.descriptor, None)
        if self._writer is viewer:
            self._writer = None
        viewer.connection.close()
