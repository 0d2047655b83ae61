"""What the user sees: a line for each step, with the seconds since the beginning."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_BEGIN = time.monotonic()


class Trouble(Exception):
    """Something that the user must know or mend; the text says what and how."""


class Changes:
    """Counts what was really done, so that a run that had nothing to do can say so."""

    count = 0


def say(text: str) -> None:
    print(f"[{time.monotonic() - _BEGIN:5.0f} s] {text}", flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """A step that changes something; its duration is shown when it took a while."""
    begin = time.monotonic()
    Changes.count += 1
    say(f"{text} ...")
    yield
    took = time.monotonic() - begin
    if took >= 2:
        say(f"  done in {took:.0f} s")


def fail(error: object) -> int:
    print(f"make: {error}", file=sys.stderr, flush=True)
    return 1
