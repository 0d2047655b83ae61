"""The guard's end of a serial line, read in turns of a few pieces: so a flood costs little, and delays nobody much."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from .websocket import Shared

PIECE = 64 * 1024
"""What fits a processor's nearer cache between receiving and sending."""
TURN = 8
"""Pieces of one line before others have their turn."""
TYPED_AHEAD = 64 * 1024
"""Bytes for a guest that does not read, before its browser is not read any more."""
_shared = Shared(PIECE)
"""Where bytes of every line are received in turn: they are sent before anything else is received."""


class Line:
    """connection: not blocking, owned from now on. output(buffer, length): bytes of the guest; ended(): once, when it
    closed the line; full(whether): the guest does not take what is typed."""

    def __init__(
        self,
        connection: socket.socket,
        output: Callable[[Shared, int], None],
        ended: Callable[[], None],
        full: Callable[[bool], None],
    ) -> None:
        self._socket = connection
        self._output, self._ended, self._full = output, ended, full
        self._loop = asyncio.get_running_loop()
        self._typed = bytearray()
        self._paused = True
        self.closed = False

    def read(self, wanted: bool) -> None:
        """Whether bytes are wanted; not at first."""
        if self.closed or wanted is not self._paused:
            return
        self._paused = not wanted
        if wanted:
            self._loop.add_reader(self._socket.fileno(), self._read)
        else:
            self._loop.remove_reader(self._socket.fileno())

    def write(self, data: bytes) -> None:
        if self.closed:
            return
        waited = bool(self._typed)
        self._typed += data
        if not waited:
            self._write()
        elif len(self._typed) > TYPED_AHEAD:
            self._full(True)

    def close(self) -> None:
        if self.closed:
            return
        self.read(False)
        if self._typed:
            self._loop.remove_writer(self._socket.fileno())
        self.closed = True
        self._socket.close()

    def _read(self) -> None:
        for _ in range(TURN):
            try:
                length = self._socket.recv_into(_shared.room)
            except BlockingIOError:
                return
            except OSError:
                length = 0
            if not length:
                self.close()
                self._ended()
                return
            self._output(_shared, length)
            if self._paused:
                return

    def _write(self) -> None:
        try:
            with suppress(BlockingIOError):
                del self._typed[: self._socket.send(self._typed)]
        except OSError:
            self._typed.clear()  # it has ended: reading says so
        if self._typed:
            self._loop.add_writer(self._socket.fileno(), self._write)
        else:
            self._loop.remove_writer(self._socket.fileno())
        self._full(len(self._typed) > TYPED_AHEAD)
