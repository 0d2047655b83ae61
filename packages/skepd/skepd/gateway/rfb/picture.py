"""The picture of a screen, and which parts of it changed: tiles of 64 by 64 pixels as bits of one number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

TILE = 64
MOST_PIXELS = 7680 * 4320


@dataclass(frozen=True)
class Rect:
    x: int
    y: int
    width: int
    height: int


class Picture:
    """Pixels of ours (`pixels.OURS`). serial: rises with every change."""

    def __init__(self, width: int, height: int) -> None:
        """Raises ValueError for a size that no screen has."""
        if not (width and height) or width * height > MOST_PIXELS:
            raise ValueError(f"a screen of {width} by {height} pixels")
        self.width, self.height = width, height
        self.serial = 0
        self._data = bytearray(width * height * 4)
        self._columns = -(-width // TILE)
        self._rows = -(-height // TILE)

    @property
    def everything(self) -> int:
        """The mask of all tiles."""
        return (1 << self._columns * self._rows) - 1

    def put(self, rect: Rect, pixels: bytes | memoryview) -> int:
        """Draw; returns the mask of the tiles touched. Raises ValueError for what lies outside."""
        if rect.x + rect.width > self.width or rect.y + rect.height > self.height:
            raise ValueError("a rectangle outside of the screen")
        self.serial += 1
        if rect.width == self.width:
            start = rect.y * self.width * 4
            self._data[start : start + len(pixels)] = pixels
        else:
            line, stride = rect.width * 4, self.width * 4
            at = (rect.y * self.width + rect.x) * 4
            for start in range(0, len(pixels), line):
                self._data[at : at + line] = pixels[start : start + line]
                at += stride
        return self.mask(rect)

    def cut(self, rect: Rect) -> bytes:
        """The pixels of a part, row by row."""
        stride = self.width * 4
        if rect.width == self.width:
            return bytes(self._data[rect.y * stride : (rect.y + rect.height) * stride])
        first = (rect.y * self.width + rect.x) * 4
        line = rect.width * 4
        return b"".join(self._data[at : at + line] for at in range(first, first + rect.height * stride, stride))

    def mask(self, rect: Rect) -> int:
        """The tiles that a part touches; what lies outside touches none."""
        right, bottom = min(rect.x + rect.width, self.width), min(rect.y + rect.height, self.height)
        if right <= rect.x or bottom <= rect.y:
            return 0
        left, first = rect.x // TILE, rect.y // TILE
        row = (1 << -(-right // TILE)) - (1 << left)
        found = 0
        for line in range(first, -(-bottom // TILE)):
            found |= row << line * self._columns
        return found

    def rects(self, mask: int) -> list[Rect]:
        """Few rectangles that cover these tiles, and nothing else: runs in a row, one with the same run below it."""
        done: list[Rect] = []
        growing: dict[tuple[int, int], int] = {}
        for row in range(self._rows + 1):
            runs = set(_runs(mask >> row * self._columns & (1 << self._columns) - 1)) if row < self._rows else set()
            ended = [run for run in growing if run not in runs]
            done += [self._rect(run, growing.pop(run), row) for run in ended]
            for run in runs:
                growing.setdefault(run, row)
        return done

    def _rect(self, run: tuple[int, int], top: int, bottom: int) -> Rect:
        left, right = run[0] * TILE, min(run[1] * TILE, self.width)
        return Rect(left, top * TILE, right - left, min(bottom * TILE, self.height) - top * TILE)


def _runs(bits: int) -> Iterator[tuple[int, int]]:
    """The runs of ones: (first, after the last)."""
    at = 0
    while bits:
        zeros = (bits & -bits).bit_length() - 1
        bits >>= zeros
        ones = (~bits & bits + 1).bit_length() - 1
        yield at + zeros, at + zeros + ones
        bits >>= ones
        at += zeros + ones
