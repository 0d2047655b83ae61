"""The screen of a simulated guest: RFB 3.8 for one viewer at a time, raw pixels; what is typed is painted."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import zlib

WIDTH, HEIGHT = 640, 400
BLOCK = 16
_FORMAT = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
_COLOURS = tuple(bytes((blue, green, red, 0)) for red in (32, 224) for green in (32, 224) for blue in (32, 224))
_REST = {0: 19, 3: 9, 4: 7, 5: 5}
"""Bytes after the first of each message that has a fixed length."""


class Screen:
    """Eight bars of colours and the guest's name as a pattern; each key that goes down paints a block. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._lock = threading.Lock()
        self._viewer: socket.socket | None = None
        bars = b"".join(colour * (WIDTH // 8) for colour in _COLOURS)
        self.picture = bytearray(bars * HEIGHT)
        self._typed = 0
        for bit in range(24):
            if zlib.crc32(name.encode()) >> bit & 1:
                self._paint(bit * BLOCK, 0, _COLOURS[7])

    def _paint(self, x: int, y: int, colour: bytes) -> None:
        for row in range(y, y + BLOCK):
            at = (row * WIDTH + x) * 4
            self.picture[at : at + BLOCK * 4] = colour * BLOCK

    def open(self) -> int:
        """The viewer's end, as a descriptor. As with bhyve, the viewer before must have left to get a byte; here it is
        cut off, for a simulated host has no hands to make it leave."""
        with self._lock:
            self._cut()
            ours, theirs = socket.socketpair()
            self._viewer = ours
        threading.Thread(target=self._serve, args=(ours,), name="sim-screen", daemon=True).start()
        return theirs.detach()

    def close(self) -> None:
        with self._lock:
            self._cut()

    def _cut(self) -> None:
        if self._viewer is not None:
            with contextlib.suppress(OSError):  # gone already
                self._viewer.shutdown(socket.SHUT_RDWR)
            self._viewer = None

    def _serve(self, viewer: socket.socket) -> None:
        with viewer:
            try:
                viewer.sendall(b"RFB 003.008\n")
                _exactly(viewer, 12)
                viewer.sendall(b"\1\1")
                _exactly(viewer, 1)
                viewer.sendall(bytes(4))
                _exactly(viewer, 1)
                viewer.sendall(struct.pack(">HH", WIDTH, HEIGHT) + _FORMAT + struct.pack(">I", 4) + b"skep")
                self._answer(viewer)
            except (OSError, EOFError):
                return

    def _answer(self, viewer: socket.socket) -> None:
        wanted, dirty = False, True
        while True:
            if wanted and dirty:
                viewer.sendall(struct.pack(">BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 0) + self.picture)
                wanted = dirty = False
            select.select([viewer], [], [])
            kind = _exactly(viewer, 1)[0]
            if kind == 2:
                _exactly(viewer, 4 * struct.unpack(">xH", _exactly(viewer, 3))[0])
                continue
            if kind == 6:
                _exactly(viewer, struct.unpack(">xxxI", _exactly(viewer, 7))[0])
                continue
            if kind not in _REST:
                raise EOFError(f"message {kind} is not known")
            rest = _exactly(viewer, _REST[kind])
            if kind == 3:
                wanted, dirty = True, dirty or not rest[0]
            elif kind == 4 and rest[0]:
                self._type(struct.unpack(">BxxI", rest)[1])
                dirty = True

    def _type(self, symbol: int) -> None:
        columns = WIDTH // BLOCK
        row, column = divmod(self._typed % (columns * (HEIGHT // BLOCK - 1)), columns)
        self._paint(column * BLOCK, (row + 1) * BLOCK, _COLOURS[symbol % 8])
        self._typed += 1


def _exactly(viewer: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = viewer.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data
