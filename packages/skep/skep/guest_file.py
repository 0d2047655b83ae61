"""A guest in a file: a line of JSON that says what it is, then the stream of each part in pieces, each part with its
digest.

    {"skep-guest": 1, "guest": {...}, "ports": [...], "snapshot": NAME, "disks": [...], "frozen": false}
    per part, the folder first:  {"disk": "" or NAME, "size": BYTES}   a line of JSON
                                 pieces: four bytes of length, big-endian, then as many bytes; 0 is the end
                                 32 bytes: the SHA-256 of all its pieces
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

VERSION = 1
_LINE = 8 << 20
_PIECE = 1 << 24


class FileError(Exception):
    """The file is none of ours, cut, or damaged."""


def write_line(target: BinaryIO, value: dict[str, Any]) -> None:
    target.write(json.dumps(value, sort_keys=True).encode() + b"\n")


def write_part(target: BinaryIO, pieces: Iterable[bytes]) -> None:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        target.write(len(piece).to_bytes(4, "big") + piece)
    target.write(bytes(4) + digest.digest())


def read_head(source: BinaryIO) -> dict[str, Any]:
    head = _read_line(source)
    if head.get("skep-guest") != VERSION:
        known = head.get("skep-guest")
        raise FileError(f"it is of version {known}, known is {VERSION}" if known else "it is no export of a guest")
    return head


def read_part(source: BinaryIO) -> dict[str, Any]:
    """What comes next. Its pieces must be read to their end before the next part."""
    return _read_line(source)


def pieces(source: BinaryIO) -> Iterator[bytes]:
    """Raises FileError at the end when they are not what was written: whoever takes them must wait for that."""
    digest = hashlib.sha256()
    while length := int.from_bytes(_exactly(source, 4), "big"):
        if length > _PIECE:
            raise FileError("it is damaged: export the guest again")
        piece = _exactly(source, length)
        digest.update(piece)
        yield piece
    if _exactly(source, 32) != digest.digest():
        raise FileError("it is damaged (a digest is wrong): export the guest again")


def _exactly(source: BinaryIO, count: int) -> bytes:
    data = source.read(count)
    if len(data) < count:
        raise FileError("it is cut: export the guest again")
    return data


def _read_line(source: BinaryIO) -> dict[str, Any]:
    line = source.readline(_LINE)
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise FileError("it is no export of a guest" if line else "it is cut: export the guest again")
    return found
