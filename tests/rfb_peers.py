"""Both sides of RFB for tests: a screen that serves one viewer at a time, and a viewer that keeps a picture."""

from __future__ import annotations

import random
import socket
import struct
import threading
import zlib
from collections.abc import Callable

FORMAT = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
RAW, ZLIB, ZRLE, DESKTOP_SIZE, EXTENDED_KEY = 0, 6, 16, -223, -258


class Painting:
    """What a guest shows: pixels as bhyve has them."""

    def __init__(self, width: int, height: int, seed: int = 1) -> None:
        self.width, self.height = width, height
        self._random = random.Random(seed)
        self.pixels = bytearray(b"\x10\x20\x30\x00" * (width * height))
        self.fill(0, 0, width, height)

    def fill(self, x: int, y: int, width: int, height: int) -> None:
        """Noise with plain parts."""
        for row in range(y, min(y + height, self.height)):
            at, count = (row * self.width + x) * 4, min(width, self.width - x)
            line = bytearray(b"\x40\x80\xc0\x00" * count)
            for column in range(0, count, 3 + row % 50):
                line[column * 4 : column * 4 + 3] = self._random.randbytes(3)
            self.pixels[at : at + count * 4] = line

    def cut(self, x: int, y: int, width: int, height: int) -> bytes:
        rows = range(y, y + height)
        return b"".join(
            bytes(self.pixels[(row * self.width + x) * 4 : (row * self.width + x + width) * 4]) for row in rows
        )


class LonelyScreen:
    """An RFB server as bhyve's: another viewer gets no byte until the one before has left. It sends what has changed
    since, as zlib where the viewer takes it, row by row flushed; keys and pointers are kept in `heard`."""

    def __init__(self, painting: Painting, *, packed: bool = True) -> None:
        self.painting = painting
        self.heard: list[bytes] = []
        self.served = 0
        self._packed = packed
        self._turn = threading.Lock()
        self._lock = threading.Condition()
        self._dirty: list[tuple[int, int, int, int]] = []
        self._resized = False
        self._bells = 0
        self._viewer: socket.socket | None = None

    def open(self) -> int:
        ours, theirs = socket.socketpair()
        threading.Thread(target=self._serve, args=(ours,), daemon=True).start()
        return theirs.detach()

    def paint(self, x: int, y: int, width: int, height: int) -> None:
        with self._lock:
            self.painting.fill(x, y, width, height)
            self._dirty.append((x, y, width, height))
            self._lock.notify_all()

    def resize(self, painting: Painting) -> None:
        with self._lock:
            self.painting, self._resized = painting, True
            self._lock.notify_all()

    def reboot(self) -> None:
        """The VMM ends its connection, and is there again."""
        if self._viewer is not None:
            self._viewer.shutdown(socket.SHUT_RDWR)

    def _serve(self, viewer: socket.socket) -> None:
        with self._turn, viewer:
            self.served += 1
            self._viewer = viewer
            try:
                self._speak(viewer)
            except (OSError, EOFError):
                return

    def _speak(self, viewer: socket.socket) -> None:
        viewer.sendall(b"RFB 003.008\n")
        exactly(viewer, 12)
        viewer.sendall(b"\1\1")
        exactly(viewer, 1)
        viewer.sendall(bytes(4))
        exactly(viewer, 1)
        with self._lock:
            size = struct.pack(">HH", self.painting.width, self.painting.height)
        viewer.sendall(size + FORMAT + struct.pack(">I", 5) + b"bhyve")
        asked: list[int] = []
        over = threading.Event()
        writer = threading.Thread(target=self._show, args=(viewer, asked, over), daemon=True)
        self._zlib = False
        writer.start()
        try:
            self._listen(viewer, asked)
        finally:
            with self._lock:
                over.set()
                self._lock.notify_all()
            writer.join()

    def _listen(self, viewer: socket.socket, asked: list[int]) -> None:
        while True:
            kind = exactly(viewer, 1)
            if kind == b"\0":
                exactly(viewer, 19)
            elif kind == b"\2":
                (count,) = struct.unpack(">xH", exactly(viewer, 3))
                self._zlib = ZLIB in struct.unpack(f">{count}i", exactly(viewer, 4 * count)) and self._packed
            elif kind == b"\3":
                incremental = exactly(viewer, 9)[0]
                with self._lock:
                    asked.append(incremental)
                    self._lock.notify_all()
            else:
                self.heard.append(kind + exactly(viewer, {b"\4": 7, b"\5": 5}[kind]))

    def _show(self, viewer: socket.socket, asked: list[int], over: threading.Event) -> None:
        packer = zlib.compressobj(1)
        everything = True
        while True:
            with self._lock:
                while not over.is_set() and not (asked and (self._dirty or self._resized or everything or 0 in asked)):
                    self._lock.wait()
                if over.is_set():
                    return
                everything = everything or 0 in asked
                asked.clear()
                size = (self.painting.width, self.painting.height)
                resized, self._resized = self._resized, False
                dirty, self._dirty = ([(0, 0, *size)] if everything else self._dirty), []
                parts = [] if resized else [(rect, self.painting.cut(*rect)) for rect in dirty]
                everything = resized
            if resized:
                message = struct.pack(">BxHHHHHi", 0, 1, 0, 0, *size, DESKTOP_SIZE)
            else:
                message = struct.pack(">BxH", 0, len(parts)) + b"".join(
                    self._rectangle(packer, rect, pixels) for rect, pixels in parts
                )
            try:
                viewer.sendall(message)
            except OSError:
                return

    def _rectangle(self, packer: zlib._Compress, rect: tuple[int, int, int, int], pixels: bytes) -> bytes:
        if not self._zlib:
            return struct.pack(">HHHHi", *rect, RAW) + pixels
        line = rect[2] * 4
        data = b"".join(
            packer.compress(pixels[at : at + line]) + packer.flush(zlib.Z_SYNC_FLUSH)
            for at in range(0, len(pixels), line)
        )
        return struct.pack(">HHHHiI", *rect, ZLIB, len(data)) + data


class Picture:
    """A viewer: pixels of 32 bits in the format it asks for. receive(length), send(data): its connection."""

    def __init__(
        self,
        receive: Callable[[int], bytes],
        send: Callable[[bytes], object],
        encodings: tuple[int, ...] = (RAW, DESKTOP_SIZE),
        pixel_format: bytes = FORMAT,
    ) -> None:
        self._receive, self._send = receive, send
        assert receive(12) == b"RFB 003.008\n"
        send(b"RFB 003.008\n")
        assert receive(receive(1)[0]) == b"\1"
        send(b"\1")
        assert receive(4) == bytes(4)
        send(b"\1")
        self.width, self.height, length = struct.unpack(">HH16xI", receive(24))
        self.name = receive(length).decode()
        self.pixels = bytearray(self.width * self.height * 4)
        self.bells = 0
        self._inflate = {ZLIB: zlib.decompressobj(), ZRLE: zlib.decompressobj()}
        self._cpixel = 3 if pixel_format[1] == 24 else 4
        free = 3 if min(pixel_format[10:13]) == 0 else 0
        self._drop = 3 - free if pixel_format[2] else free
        send(b"\0\0\0\0" + pixel_format + struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings))
        self.ask(0)

    def ask(self, incremental: int = 1) -> None:
        self._send(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))

    def update(self) -> list[int]:
        """One update and the next request; returns its encodings."""
        while (kind := self._receive(1)) == b"\2":
            self.bells += 1
        assert kind == b"\0", kind
        (count,) = struct.unpack(">xH", self._receive(3))
        found = [self._rectangle() for _ in range(count)]
        self.ask()
        return found

    def _rectangle(self) -> int:
        x, y, width, height, encoding = struct.unpack(">HHHHi", self._receive(12))
        if encoding == DESKTOP_SIZE:
            self.width, self.height = width, height
            self.pixels = bytearray(width * height * 4)
        elif encoding != EXTENDED_KEY:
            self._draw(x, y, width, height, self._pixels(encoding, width, height))
        return encoding

    def _pixels(self, encoding: int, width: int, height: int) -> bytes:
        if encoding == RAW:
            return self._receive(width * height * 4)
        (length,) = struct.unpack(">I", self._receive(4))
        data = self._inflate[encoding].decompress(self._receive(length))
        if encoding == ZLIB:
            assert len(data) == width * height * 4
            return data
        return self._tiles(data, width, height)

    def _tiles(self, data: bytes, width: int, height: int) -> bytes:
        made, at, size = bytearray(width * height * 4), 0, self._cpixel
        for top in range(0, height, 64):
            for left in range(0, width, 64):
                columns, rows = min(64, width - left), min(64, height - top)
                kind, at = data[at], at + 1
                length = size if kind == 1 else size * columns * rows
                assert kind in (0, 1)
                packed, at = data[at : at + length], at + length
                tile = self._wide(packed) * (columns * rows if kind == 1 else 1)
                for row in range(rows):
                    start = ((top + row) * width + left) * 4
                    made[start : start + columns * 4] = tile[row * columns * 4 : (row + 1) * columns * 4]
        assert at == len(data)
        return bytes(made)

    def _wide(self, packed: bytes) -> bytes:
        if self._cpixel == 4:
            return packed
        wide = bytearray(len(packed) // 3 * 4)
        for place in range(3):
            wide[place + (self._drop == 0) :: 4] = packed[place::3]
        return bytes(wide)

    def _draw(self, x: int, y: int, width: int, height: int, pixels: bytes) -> None:
        for row in range(height):
            at = ((y + row) * self.width + x) * 4
            self.pixels[at : at + width * 4] = pixels[row * width * 4 : (row + 1) * width * 4]

    def until(self, wanted: bytes | bytearray) -> None:
        """Updates until the picture is this one, pixel for pixel."""
        while self.pixels != wanted:
            self.update()


def exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
