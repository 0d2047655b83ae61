"""Pixels, pictures and encodings, each against the plain definition."""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skepd.gateway.rfb.encodings import HEADER, RAW, ZLIB, ZRLE, encode
from skepd.gateway.rfb.picture import TILE, Picture, Rect
from skepd.gateway.rfb.pixels import OURS, Format, Unfit, converter
from skepd.gateway.rfb.viewer import Nonsense, Viewer

sys.path.insert(0, str(Path(__file__).parents[2]))
import rfb_peers

NOVNC = Format(32, 24, False, True, ((255, 0), (255, 8), (255, 16)))
FORMATS = [
    OURS,
    NOVNC,
    Format(32, 24, True, True, ((255, 16), (255, 8), (255, 0))),
    Format(32, 24, False, True, ((255, 24), (255, 16), (255, 8))),
    Format(32, 30, False, True, ((1023, 20), (1023, 10), (1023, 0))),
    Format(16, 16, False, True, ((31, 11), (63, 5), (31, 0))),
    Format(16, 16, True, True, ((31, 11), (63, 5), (31, 0))),
    Format(8, 8, False, True, ((7, 0), (7, 3), (3, 6))),
    Format(8, 6, False, True, ((3, 4), (3, 2), (3, 0))),
]


def plainly(pixels: bytes, wanted: Format) -> bytes:
    made = b""
    for blue, green, red, _ in zip(*[iter(pixels)] * 4, strict=True):
        value = 0
        for colour, (most, shift) in zip((red, green, blue), wanted.channels, strict=True):
            value |= (colour * most + 127) // 255 << shift
        made += value.to_bytes(wanted.bytes, "big" if wanted.big_endian else "little")
    return made


@pytest.mark.parametrize("wanted", FORMATS)
def test_pixels_in_every_format(wanted: Format) -> None:
    pixels = b"".join(random.Random(1).randbytes(3) + b"\0" for _ in range(300))
    assert converter(wanted)(pixels) == plainly(pixels, wanted)
    assert Format.unpack(wanted.pack()) == wanted


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">BBBBHHHBBBxxx", 24, 24, 0, 1, 255, 255, 255, 16, 8, 0),
        struct.pack(">BBBBHHHBBBxxx", 8, 8, 0, 0, 7, 7, 3, 0, 3, 6),
        struct.pack(">BBBBHHHBBBxxx", 16, 16, 0, 1, 31, 63, 31, 12, 5, 0),
        struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 0, 255, 255, 16, 8, 0),
        struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 255, 8, 0),
        struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 8, 8, 0),
        struct.pack(">BBBBHHHBBBxxx", 16, 16, 0, 1, 31, 63, 31, 10, 5, 0),
    ],
)
def test_formats_that_are_none(data: bytes) -> None:
    with pytest.raises(Unfit):
        Format.unpack(data)


def test_the_byte_that_zrle_leaves_out() -> None:
    assert [wanted.unused for wanted in FORMATS] == [3, 3, 0, 0, *[None] * 5]


@given(
    width=st.integers(1, 300), height=st.integers(1, 300),
    marks=st.lists(st.tuples(st.integers(0, 320), st.integers(0, 320), st.integers(0, 200), st.integers(0, 200))),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_rectangles_cover_the_tiles_that_changed_and_nothing_twice(
    width: int, height: int, marks: list[tuple[int, int, int, int]]
) -> None:
    picture = Picture(width, height)
    mask = 0
    wanted = set()
    for x, y, wide, high in marks:
        mask |= picture.mask(Rect(x, y, wide, high))
        for row in range(y, min(y + high, height)):
            wanted |= {(column // TILE, row // TILE) for column in range(x, min(x + wide, width))}
    seen: list[tuple[int, int]] = []
    for rect in picture.rects(mask):
        assert rect.x + rect.width <= width
        assert rect.y + rect.height <= height
        tiles = range(rect.x // TILE, -(-(rect.x + rect.width) // TILE))
        seen += [(x, y) for y in range(rect.y // TILE, -(-(rect.y + rect.height) // TILE)) for x in tiles]
    assert sorted(seen) == sorted(wanted)
    assert picture.mask(Rect(0, 0, width, height)) == picture.everything


def test_parts_of_a_picture_are_what_was_put_there() -> None:
    picture = Picture(100, 70)
    part = random.Random(2).randbytes(30 * 20 * 4)
    picture.put(Rect(10, 50, 30, 20), part)
    assert picture.cut(Rect(10, 50, 30, 20)) == part
    assert picture.cut(Rect(0, 50, 100, 1))[:40] == bytes(40)
    row = random.Random(3).randbytes(400)
    picture.put(Rect(0, 69, 100, 1), row)
    assert picture.cut(Rect(0, 69, 100, 1)) == row
    for outside in (Rect(90, 0, 11, 1), Rect(0, 70, 1, 1)):
        with pytest.raises(ValueError, match="outside"):
            picture.put(outside, b"")
    for size in ((0, 5), (65_535, 65_535)):
        with pytest.raises(ValueError, match="a screen of"):
            Picture(*size)


class Still:
    """A screen that shows one thing."""

    name = "web"
    extended_keys = True

    def __init__(self, painting: rfb_peers.Painting) -> None:
        self.picture = Picture(painting.width, painting.height)
        self.picture.put(Rect(0, 0, painting.width, painting.height), bytes(painting.pixels))
        self.sent: list[bytes] = []

    def send(self, event: bytes) -> None:
        self.sent.append(event)


def looked(screen: Still, viewer: Viewer) -> bytes:
    parts = []
    for rect in viewer.due() or ():
        pixels = screen.picture.cut(rect)
        parts.append((rect, viewer.encoding, encode(viewer.encoding, pixels, rect.width, viewer.format)))
    return viewer.update(parts) if parts else b""


@pytest.mark.parametrize("encoding", [RAW, ZLIB, ZRLE])
@pytest.mark.parametrize("wanted", FORMATS[:4])
def test_a_viewer_sees_every_pixel(encoding: int, wanted: Format) -> None:
    painting = rfb_peers.Painting(200, 130)
    screen = Still(painting)
    out = bytearray()
    viewer = Viewer(screen, out.extend, lambda: None, writes=True)

    def receive(length: int) -> bytes:
        if len(out) < length:
            out.extend(looked(screen, viewer))
        data = bytes(out[:length])
        del out[:length]
        assert len(data) == length
        return data

    eye = rfb_peers.Picture(receive, viewer.receive, (encoding, -223), wanted.pack())
    assert eye.name == "web"
    eye.update()
    assert eye.pixels == converter(wanted)(bytes(painting.pixels))
    for _ in range(3):
        part = b"".join(random.Random(at).randbytes(3) + b"\0" for at in range(64 * 30))
        viewer.changed(screen.picture.put(Rect(60, 70, 64, 30), part))
        assert eye.update() == [encoding]
    assert eye.pixels == converter(wanted)(screen.picture.cut(Rect(0, 0, 200, 130)))


def greeted(viewer: Viewer) -> Viewer:
    viewer.receive(b"RFB 003.008\n\1\1")
    return viewer


def test_only_who_writes_is_heard() -> None:
    screen = Still(rfb_peers.Painting(10, 10))
    key, move, extended = b"\4\1\0\0\0\0\0a", b"\5\0\0\1\0\2", b"\xff\0\0\1\0\0\0a\0\0\0\x1e"
    clipboard = struct.pack(">BxxxI", 6, 3) + b"abc"
    for writes in (False, True):
        viewer = greeted(Viewer(screen, lambda _: None, lambda: None, writes=writes))
        for byte in key + clipboard + move + extended:
            viewer.receive(bytes([byte]))
        assert screen.sent == ([key, move, extended] if writes else [])


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n",
        b"RFB 003.008\n\2",
        b"RFB 003.008\n\1\1\x07",
        b"RFB 003.008\n\1\1" + struct.pack(">BxH", 2, 2000),
        b"RFB 003.008\n\1\1" + struct.pack(">BxxxI", 6, 1 << 30),
        b"RFB 003.008\n\1\1\xff\1" + bytes(10),
        b"RFB 003.008\n\1\1" + bytes(20),
    ],
)
def test_nonsense_is_refused(said: bytes) -> None:
    viewer = Viewer(Still(rfb_peers.Painting(10, 10)), lambda _: None, lambda: None, writes=True)
    with pytest.raises(Nonsense):
        viewer.receive(said)


def test_a_viewer_that_cannot_follow_a_new_size_is_told() -> None:
    screen = Still(rfb_peers.Painting(10, 10))
    viewer = greeted(Viewer(screen, lambda _: None, lambda: None, writes=True))
    screen.picture = Picture(20, 20)
    viewer.receive(struct.pack(">BBHHHH", 3, 1, 0, 0, 10, 10))
    with pytest.raises(Nonsense, match="another size"):
        viewer.due()


def test_one_piece_serves_every_viewer_whatever_he_saw_before() -> None:
    """Because no piece refers to one before it."""
    pixels = random.Random(5).randbytes(4000)
    piece = encode(ZLIB, pixels, 10, OURS)
    for before in (b"", encode(ZLIB, pixels * 3, 10, OURS)):
        unpacker = rfb_peers.zlib.decompressobj()
        unpacker.decompress(HEADER + before)
        assert unpacker.decompress(piece) == pixels
