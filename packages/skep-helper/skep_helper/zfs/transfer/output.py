"""What `zfs send -P` says: the size of a stream, how far it is, and what a resume token holds."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PROGRESS = re.compile(r"\d\d:\d\d:\d\d\t(\d+)\t")
_FIELD = re.compile(r"\s+(\w+) = (\S+)")


def size(lines: Iterable[str]) -> int:
    """The estimate; 0 when there is none (nothing changed)."""
    found = 0
    for line in lines:
        word, _, value = line.partition("\t")
        if word == "size":
            found = int(value)
    return found


def progress(line: str) -> int | None:
    """Bytes sent so far, when this line tells them."""
    found = _PROGRESS.match(line)
    return int(found[1]) if found else None


def token(lines: Iterable[str]) -> dict[str, str]:
    """The fields of a resume token: object, offset, bytes, toguid, toname, ..."""
    return {found[1]: found[2] for line in lines if (found := _FIELD.match(line))}
