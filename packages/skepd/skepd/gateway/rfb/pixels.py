"""Formats of pixels, and pixels of ours as another format. Every step is one call on all pixels at once."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

_STRUCT = struct.Struct(">BBBBHHHBBBxxx")
SIZE = _STRUCT.size


class Unfit(Exception):
    """A format that is not served. The text says why."""


@dataclass(frozen=True)
class Format:
    """Red, green and blue are (maximum, shift)."""

    bits: int
    depth: int
    big_endian: bool
    true_colour: bool
    channels: tuple[tuple[int, int], ...]

    @classmethod
    def unpack(cls, data: bytes) -> Format:
        """Raises Unfit."""
        bits, depth, big, true, *rest = _STRUCT.unpack(data)
        found = cls(bits, depth, bool(big), bool(true), tuple(zip(rest[:3], rest[3:], strict=True)))
        if bits not in (8, 16, 32) or not true:
            raise Unfit("pixels have 8, 16 or 32 bits and true colour here")
        if any(not 0 < most < 1 << bits or most.bit_length() + shift > bits for most, shift in found.channels):
            raise Unfit("a colour that lies outside of its pixel")
        masks = [(1 << most.bit_length()) - 1 << shift for most, shift in found.channels]
        if sum(masks) != masks[0] | masks[1] | masks[2]:
            raise Unfit("colours that lie on one another")
        return found

    def pack(self) -> bytes:
        most, shifts = zip(*self.channels, strict=True)
        return _STRUCT.pack(self.bits, self.depth, self.big_endian, self.true_colour, *most, *shifts)

    @property
    def bytes(self) -> int:
        return self.bits // 8

    @property
    def unused(self) -> int | None:
        """The byte of a pixel that ZRLE leaves out, if it leaves one out."""
        ours = all(most == 255 and shift % 8 == 0 for most, shift in self.channels)
        if self.bits != 32 or self.depth > 24 or not ours:
            return None
        (free,) = {0, 8, 16, 24} - {shift for _, shift in self.channels} or {-1}
        if free not in (0, 24):
            return None
        at = free // 8
        return 3 - at if self.big_endian else at


OURS = Format(32, 24, False, True, ((255, 16), (255, 8), (255, 0)))
"""Blue, green, red, nothing: what bhyve always sends, and QEMU unless asked for another."""
_AT = (2, 1, 0)
"""Where red, green and blue are in a pixel of ours."""


@lru_cache(64)
def converter(wanted: Format) -> Callable[[bytes], bytes]:
    """A function from pixels of ours to the same in this format."""
    if (wanted.bits, wanted.big_endian, wanted.channels) == (OURS.bits, OURS.big_endian, OURS.channels):
        return bytes
    tables = [_tables(wanted, place) for place in range(wanted.bytes)]

    def convert(pixels: bytes) -> bytes:
        made = bytearray(len(pixels) // 4 * wanted.bytes)
        for place, sources in enumerate(tables):
            parts = [pixels[at::4] if table is None else pixels[at::4].translate(table) for at, table in sources]
            if len(parts) == 1:
                made[place :: wanted.bytes] = parts[0]
            elif parts:
                total = 0
                for part in parts:
                    total |= int.from_bytes(part, "little")
                made[place :: wanted.bytes] = total.to_bytes(len(parts[0]), "little")
        return bytes(made)

    return convert


def _tables(wanted: Format, place: int) -> list[tuple[int, bytes | None]]:
    """What goes into the byte at `place` of a pixel: (byte of ours, its translation; None: as it is)."""
    byte = wanted.bytes - 1 - place if wanted.big_endian else place
    found: list[tuple[int, bytes | None]] = []
    for at, (most, shift) in zip(_AT, wanted.channels, strict=True):
        table = bytes(((value * most + 127) // 255 << shift) >> 8 * byte & 0xFF for value in range(256))
        if any(table):
            found.append((at, None if table == bytes(range(256)) else table))
    return found
