"""The one connection to a VMM's screen: asks for what changed when somebody wants to see it, and keeps the picture.

bhyve sends zlib or raw pixels in one format whatever is asked; QEMU sends the first encoding of our list that it knows.
Nothing is believed: sizes, lengths and what zlib unpacks to have limits.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Callable

from .encodings import DESKTOP_SIZE, EXTENDED_KEY, RAW, ZLIB
from .picture import Picture, Rect
from .pixels import OURS

VERSION = b"RFB 003.008\n"
WANTED = (RAW, ZLIB, DESKTOP_SIZE, EXTENDED_KEY)
MOST_TEXT = 1 << 20
MOST_WAITING = 64 * 1024
"""Bytes of keys and movements for a VMM that does not read; what comes on top is dropped."""
PATIENCE = 20.0
UPDATE, COLOURS, BELL, CUT_TEXT = range(4)


class Broken(Exception):
    """The VMM does not speak RFB as it should."""


class Source:
    """changed(mask): tiles of the picture; resized(): there is another picture; rang(): the bell."""

    def __init__(self, changed: Callable[[int], None], resized: Callable[[], None], rang: Callable[[], None]) -> None:
        self._changed, self._resized, self._rang = changed, resized, rang
        self._inflate = zlib.decompressobj()
        self._wanted = asyncio.Event()
        self._answered = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._fresh = True
        self.picture: Picture | None = None
        self.extended_keys = False

    def want(self) -> None:
        """Somebody waits for a change."""
        self._wanted.set()

    def send(self, event: bytes) -> None:
        """A key or a movement."""
        if self._writer is not None and self._writer.transport.get_write_buffer_size() < MOST_WAITING:
            self._writer.write(event)

    async def run(self, connection: socket.socket) -> None:
        """Until the connection ends. Raises Broken, OSError, asyncio.IncompleteReadError, TimeoutError."""
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=1 << 20)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._greet(reader, writer)
            self._writer = writer
            asking = asyncio.ensure_future(self._ask(writer))
            try:
                while True:
                    await self._message(reader)
            finally:
                asking.cancel()
        except (ValueError, zlib.error, struct.error) as error:
            raise Broken(str(error)) from None
        finally:
            self._writer = None
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not (await reader.readexactly(12)).startswith(b"RFB 003."):
            raise Broken("this is no RFB")
        writer.write(VERSION)
        kinds = await reader.readexactly((await reader.readexactly(1))[0])
        if b"\1" not in kinds:
            raise Broken("the screen wants a password")
        writer.write(b"\1")
        if any(await reader.readexactly(4)):
            raise Broken("the screen refuses")
        writer.write(b"\1")  # others may look, too
        width, height, name = struct.unpack(">HH16xI", await reader.readexactly(24))
        await reader.readexactly(_limited(name, 4096))
        self._new_picture(width, height)
        encodings = struct.pack(f">BxH{len(WANTED)}i", 2, len(WANTED), *WANTED)
        writer.write(b"\0\0\0\0" + OURS.pack() + encodings)

    def _new_picture(self, width: int, height: int) -> None:
        self.picture = Picture(width, height)
        self._fresh = True
        self._resized()

    async def _ask(self, writer: asyncio.StreamWriter) -> None:
        """One request under way; the next when its answer is here and somebody wants it."""
        while True:
            if not self._fresh:
                await self._wanted.wait()
            self._wanted.clear()
            self._answered.clear()
            assert self.picture is not None
            incremental, self._fresh = not self._fresh, False
            writer.write(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.picture.width, self.picture.height))
            await self._answered.wait()

    async def _message(self, reader: asyncio.StreamReader) -> None:
        kind = (await reader.readexactly(1))[0]
        if kind == UPDATE:
            (count,) = struct.unpack(">xH", await reader.readexactly(3))
            drawn = [await self._rectangle(reader) for _ in range(count)]
            if not any(drawn):
                self._wanted.set()  # who waits for a change waits on
            self._answered.set()
        elif kind == BELL:
            self._rang()
        elif kind == CUT_TEXT:
            (length,) = struct.unpack(">xxxI", await reader.readexactly(7))
            await reader.readexactly(_limited(length, MOST_TEXT))
        elif kind == COLOURS:
            (count,) = struct.unpack(">xxxH", await reader.readexactly(5))
            await reader.readexactly(6 * count)
        else:
            raise Broken(f"message {kind} is not known")

    async def _rectangle(self, reader: asyncio.StreamReader) -> bool:
        """Whether it changed the picture."""
        *place, encoding = struct.unpack(">HHHHi", await reader.readexactly(12))
        rect = Rect(*place)
        assert self.picture is not None
        if encoding == DESKTOP_SIZE:
            if (rect.width, rect.height) != (self.picture.width, self.picture.height):
                self._new_picture(rect.width, rect.height)
            self._fresh = True
        elif encoding == EXTENDED_KEY:
            self.extended_keys = True
        elif encoding in (RAW, ZLIB):
            size = rect.width * rect.height * 4
            if rect.x + rect.width > self.picture.width or rect.y + rect.height > self.picture.height:
                raise Broken("a rectangle outside of the screen")
            pixels = await reader.readexactly(size) if encoding == RAW else await self._unpacked(reader, size)
            self._changed(self.picture.put(rect, pixels))
            return True
        else:
            raise Broken(f"encoding {encoding} was not asked for")
        return False

    async def _unpacked(self, reader: asyncio.StreamReader, size: int) -> bytes:
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        packed = await reader.readexactly(_limited(length, size + size // 8 + 4096))
        pixels = self._inflate.decompress(packed, size + 1)
        if len(pixels) != size:
            raise Broken("a rectangle with too few or too many pixels")
        return pixels


def _limited(length: int, most: int) -> int:
    if length > most:
        raise Broken(f"a text or rectangle of {length} bytes")
    return length
