"""Encodings of rectangles for viewers: raw, zlib and ZRLE.

A viewer unpacks one zlib stream as long as it is there. Each rectangle is a piece that refers to nothing before it, so
that one piece serves every viewer; only what begins a stream (HEADER) is a viewer's own.
"""

from __future__ import annotations

import zlib

from .pixels import Format, converter

RAW, ZLIB, ZRLE = 0, 6, 16
DESKTOP_SIZE, EXTENDED_KEY = -223, -258
KNOWN = (RAW, ZLIB, ZRLE)
HEADER = b"\x78\x01"
TILE = 64


def encode(encoding: int, pixels: bytes, width: int, wanted: Format) -> bytes:
    """Pixels of ours as a viewer wants them, without the length and HEADER that zlib and ZRLE begin with."""
    converted = converter(wanted)(pixels)
    if encoding == RAW:
        return converted
    if encoding == ZRLE:
        converted = _tiles(converted, width, wanted)
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return packer.compress(converted) + packer.flush(zlib.Z_SYNC_FLUSH)


def _tiles(pixels: bytes, width: int, wanted: Format) -> bytes:
    """As ZRLE has them: each tile is one colour, or its pixels."""
    size, unused = wanted.bytes, wanted.unused
    if unused is not None:
        small = bytearray(pixels)
        del small[unused::4]
        pixels, size = bytes(small), 3
    stride = width * size
    height = len(pixels) // stride
    found: list[bytes] = []
    for top in range(0, height, TILE):
        rows = range(top * stride, min(top + TILE, height) * stride, stride)
        for left in range(0, stride, TILE * size):
            line = min(TILE * size, stride - left)
            tile = b"".join([pixels[at + left : at + left + line] for at in rows])
            one = tile[:size]
            found += (b"\1", one) if tile == one * (len(tile) // size) else (b"\0", tile)
    return b"".join(found)
