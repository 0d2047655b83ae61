"""What guests use, live: the newest values of the server, which come every 15 seconds."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from .output import as_json as print_json
from .output import cell, moment, size, table
from .session import Session, pass_session

HEADERS = ("NAME", "CPU", "MEMORY", "READ/s", "WRITE/s", "IN/s", "OUT/s")
RIGHT = HEADERS[1:]
KEYS = ("cpu", "memory", "disk_read", "disk_write", "net_in", "net_out")
ORDERS = {"cpu": KEYS[:1], "memory": KEYS[1:2], "disk": KEYS[2:4], "network": KEYS[4:], "name": ()}
_ENTER, _LEAVE, _HOME, _REST, _LINE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l", "\x1b[H", "\x1b[J", "\x1b[K"


@click.command()
@click.option(
    "--sort", "order", type=click.Choice(list(ORDERS)), default="cpu", help="What comes first (default: cpu)."
)
@click.option("--once", is_flag=True, help="Print it once, as is done when this is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, once, as the server gave it.")
@pass_session
def top(session: Session, order: str, once: bool, as_json: bool) -> None:
    """What running guests use, live, until interrupted."""
    if as_json:
        print_json(newest(session)["data"])
    elif once or not sys.stdout.isatty():
        table(HEADERS, rows(newest(session)["data"], order), RIGHT)
    else:
        _follow(session, order)


def newest(session: Session) -> dict[str, Any]:
    """The newest event that says what is used; waits for it, at most 15 s when the server has just begun."""
    return next(metrics(session))


def metrics(session: Session) -> Iterator[dict[str, Any]]:
    return (event for event in session.client.events(-1) if event["kind"] == "metrics")


def rows(data: dict[str, Any], order: str) -> list[Sequence[str]]:
    """The greatest first; by name where all are equal."""

    def rank(item: tuple[str, dict[str, Any]]) -> tuple[float, str]:
        name, values = item
        return -sum(values.get(key) or 0.0 for key in ORDERS[order]), name

    return [(name, *cells(values)) for name, values in sorted(data["guests"].items(), key=rank)]


def cells(values: dict[str, Any]) -> tuple[str, ...]:
    """CPU in percent of one CPU, as ps(1) has it; "-" for what is not known yet."""
    cpu = values.get("cpu")
    return (cell(None if cpu is None else f"{cpu:.0%}"), *(size(values.get(key)) for key in KEYS[1:]))


def _follow(session: Session, order: str) -> None:
    with _screen():
        try:
            for event in metrics(session):
                _draw([_summary(event), "", *_table(rows(event["data"], order))])
        except KeyboardInterrupt:
            return


@contextmanager
def _screen() -> Iterator[None]:
    """The terminal's other screen; whatever happens, it is as it was afterwards."""
    click.echo(f"{_ENTER}{_HOME}{_REST}waiting for the first values ...", nl=False)
    try:
        yield
    finally:
        click.echo(_LEAVE, nl=False)


def _draw(lines: list[str]) -> None:
    columns, height = shutil.get_terminal_size()
    shown = [line[:columns] for line in lines[: height - 1]]
    click.echo(_HOME + "".join(f"{line}{_LINE}\n" for line in shown) + _REST, nl=False)


def _summary(event: dict[str, Any]) -> str:
    host, guests = event["data"]["host"], event["data"]["guests"]
    cpu = host.get("cpu")
    used = f"CPU {cell(None if cpu is None else f'{cpu:.0%}')}, memory {size(host.get('memory_used'))}"
    cache = f" and {size(host['arc'])} of cache" if host.get("arc") else ""
    return f"{moment(event['time'])}  {len(guests)} guests run; host: {used}{cache}"


def _table(found: list[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(HEADERS, *found, strict=True)]
    return ["  ".join(
        text.ljust(width) if number == 0 else text.rjust(width)
        for number, (text, width) in enumerate(zip(line, widths, strict=True))
    ) for line in (HEADERS, *found)]  # fmt: skip
