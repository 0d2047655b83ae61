"""How commands print: tables that line up, sizes and times for people, JSON for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

import click

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
EMPTY = "-"
SIZES = ("memory", "size", "allocated", "free", "total", "used")
MOMENTS = ("created", "ended", "started", "time")
"""Keys whose numbers are bytes, or seconds since the epoch."""


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """Columns two spaces apart; those named in `right` are right-aligned. An empty list says so on stderr."""
    texts = [[cell(value) for value in row] for row in rows]
    if not texts:
        click.echo("(none)", err=True)
        return
    widths = [max(map(len, column)) for column in zip(headers, *texts, strict=True)]
    flush = [header in right for header in headers]
    lines = []
    for row in ([*headers], *texts):
        cells = (
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, flush, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    click.echo("\n".join(lines))


def cell(value: Any) -> str:
    """A value as the text of a cell, on one line, without what could move a terminal's cursor."""
    if value is None or value in ("", [], {}):
        return EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        value = ",".join(map(str, value))
    return printable(str(value))


def printable(text: str) -> str:
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in text)


def as_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def record(value: Any) -> None:
    """One object, key by key; what is inside it is indented below its key."""
    click.echo("\n".join(_lines(value, "")))


def _lines(value: Any, indent: str, under: str = "") -> Iterable[str]:
    if isinstance(value, dict):
        width = max((len(key) for key in value), default=0)
        for key, item in value.items():
            if isinstance(item, dict) and item:
                yield f"{indent}{key}"
                yield from _lines(item, indent + "  ", key)
            elif isinstance(item, list) and any(isinstance(entry, dict) for entry in item):
                for entry in item:
                    yield f"{indent}{key}"
                    yield from _lines(entry, indent + "  ", key)
            else:
                yield f"{indent}{key.ljust(width)}  {cell(_readable(key, item, under))}"


def _readable(key: str, value: Any, under: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if key in SIZES or under == "memory":
        return size(value)
    if key in MOMENTS or key.endswith("_started"):
        return moment(value)
    if key.endswith("_uptime"):
        return duration(value)
    return value


def size(value: float | None) -> str:
    """Bytes in the largest unit that leaves a number of three digits: 512 MiB, 1.5 GiB."""
    if value is None:
        return EMPTY
    amount, unit = float(value), 0
    while amount >= 1024 and unit < len(UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    text = f"{amount:.1f}".removesuffix(".0") if amount < 100 else f"{amount:.0f}"
    return f"{text} {UNITS[unit]}"


def moment(seconds: float) -> str:
    """A time in the local zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else EMPTY


def duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
