"""One viewer of a screen: RFB 3.8 without security, for a ticket let him in. He gets what changed when he asks."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Protocol

from .encodings import DESKTOP_SIZE, EXTENDED_KEY, HEADER, KNOWN, RAW
from .picture import Picture, Rect
from .pixels import OURS, SIZE, Format, Unfit

VERSION = b"RFB 003.008\n"
MOST_TEXT = 1 << 20
MOST_ENCODINGS = 1024
MOST_RECTS = 0xFFFF
Encoded = tuple[Rect, int, bytes]
Reading = Iterator[int]


class Nonsense(Exception):
    """The viewer does not speak RFB as it should, or wants what is not served."""


class Screen(Protocol):
    """What a viewer needs of the screen it looks at."""

    name: str

    @property
    def picture(self) -> Picture: ...

    @property
    def extended_keys(self) -> bool: ...

    def send(self, event: bytes) -> None: ...


class Viewer:
    """Without I/O: bytes of the viewer go into `receive`; send(data) gets those for him; woken(): he waits for changes,
    or sees again whether there are any.

    writes: whether his keys and movements count.
    """

    def __init__(
        self, screen: Screen, send: Callable[[bytes], None], woken: Callable[[], None], *, writes: bool
    ) -> None:
        self._screen, self._send, self._woken = screen, send, woken
        self._buffer = bytearray()
        self._reading = self._read()
        self._needed = next(self._reading)
        self._begun: set[int] = set()
        self._told_keys = False
        self._takes: tuple[int, ...] = ()
        self._size = (0, 0)
        self._waits = False
        self._mask = 0
        self.writes = writes
        self.format: Format = OURS
        self.encoding = RAW
        send(VERSION)

    def receive(self, data: bytes) -> None:
        """Raises Nonsense."""
        self._buffer += data
        while len(self._buffer) >= self._needed:
            self._needed = next(self._reading)

    def changed(self, mask: int) -> None:
        self._mask |= mask
        self._woken()

    def rang(self) -> None:
        if self._size != (0, 0):
            self._send(b"\2")

    # --- what he says: a generator that yields how many bytes it needs, and then finds them ---

    def _take(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    def _read(self) -> Reading:
        yield 12
        if not self._take(12).startswith(b"RFB 003.00"):
            raise Nonsense("this is no RFB")
        self._send(b"\1\1")
        yield 1
        if self._take(1) != b"\1":
            raise Nonsense("there is no security but none: a ticket let you in")
        self._send(bytes(4))
        yield 1
        self._take(1)
        picture = self._screen.picture
        self._size = (picture.width, picture.height)
        name = self._screen.name.encode()
        self._send(struct.pack(">HH", *self._size) + OURS.pack() + struct.pack(">I", len(name)) + name)
        while True:
            yield 1
            yield from self._message(self._buffer[0])

    def _message(self, kind: int) -> Reading:
        reading = {
            0: self._set_format,
            2: self._set_encodings,
            3: self._request,
            4: self._key,
            5: self._pointer,
            6: self._clipboard,
            255: self._extended_key,
        }.get(kind)
        if reading is None:
            raise Nonsense(f"message {kind} is not known")
        yield from reading()

    def _set_format(self) -> Reading:
        yield 4 + SIZE
        try:
            self.format = Format.unpack(self._take(4 + SIZE)[4:])
        except Unfit as error:
            raise Nonsense(str(error)) from None
        self.changed(self._screen.picture.everything)

    def _set_encodings(self) -> Reading:
        yield 4
        (count,) = struct.unpack(">H", self._buffer[2:4])
        if count > MOST_ENCODINGS:
            raise Nonsense(f"{count} encodings")
        yield 4 + 4 * count
        self._takes = struct.unpack(f">{count}i", self._take(4 + 4 * count)[4:])
        self.encoding = next((one for one in self._takes if one in KNOWN), RAW)

    def _request(self) -> Reading:
        yield 10
        incremental, *place = struct.unpack(">xBHHHH", self._take(10))
        if not incremental:
            self._mask |= self._screen.picture.mask(Rect(*place))
        self._waits = True
        self._woken()

    def _key(self) -> Reading:
        yield 8
        self._event(self._take(8))

    def _pointer(self) -> Reading:
        yield 6
        self._event(self._take(6))

    def _clipboard(self) -> Reading:
        """No VMM here takes it."""
        yield 8
        (length,) = struct.unpack(">I", self._buffer[4:8])
        if length > MOST_TEXT:
            raise Nonsense(f"a clipboard of {length} bytes")
        yield 8 + length
        self._take(8 + length)

    def _extended_key(self) -> Reading:
        yield 12
        event = self._take(12)
        if event[1] != 0:
            raise Nonsense(f"message 255, {event[1]} is not known")
        if self._screen.extended_keys:
            self._event(event)

    def _event(self, event: bytes) -> None:
        if self.writes:
            self._screen.send(event)

    # --- what he gets ---

    @property
    def waits(self) -> bool:
        """Whether he asked for what changes and has not got it yet."""
        return self._waits

    def due(self) -> list[Rect] | None:
        """What he waits for and has changed, as rectangles to encode: taken, so send it by `update`. None: nothing.

        Raises Nonsense when he could not show it.
        """
        if not self._waits:
            return None
        picture = self._screen.picture
        if self._size != (picture.width, picture.height):
            if DESKTOP_SIZE not in self._takes:
                raise Nonsense("the screen has another size now, which this viewer cannot follow")
            self._size = (picture.width, picture.height)
            self._mask, self._waits = picture.everything, False
            self._send(struct.pack(">BxHHHHHi", 0, 1, 0, 0, *self._size, DESKTOP_SIZE))
            return None
        if self._screen.extended_keys and not self._told_keys and EXTENDED_KEY in self._takes:
            self._told_keys, self._waits = True, False
            self._send(struct.pack(">BxHHHHHi", 0, 1, 0, 0, 0, 0, EXTENDED_KEY))
            return None
        if not self._mask:
            return None
        mask, self._mask, self._waits = self._mask & picture.everything, 0, False
        return picture.rects(mask)

    def update(self, parts: list[Encoded]) -> bytes:
        """The message with these parts (rectangle, encoding, what `encode` made of it)."""
        found = [struct.pack(">BxH", 0, len(parts))]
        for rect, encoding, data in parts:
            found.append(struct.pack(">HHHHi", rect.x, rect.y, rect.width, rect.height, encoding))
            if encoding != RAW:
                begin = b"" if encoding in self._begun else HEADER
                self._begun.add(encoding)
                found += (struct.pack(">I", len(begin) + len(data)), begin)
            found.append(data)
        return b"".join(found)
