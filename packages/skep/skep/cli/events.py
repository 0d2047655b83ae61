"""Events."""

from __future__ import annotations

import json
from typing import Any

import click

from .output import as_json as print_json
from .output import moment, printable
from .session import Session, pass_session


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until interrupted.")
@click.option("--after", type=click.IntRange(-1), help="Only events with a higher number (default with -f: from now).")
@click.option("--json", "as_json", is_flag=True, help="JSON; with --follow one event a line.")
@pass_session
def events(session: Session, follow: bool, after: int | None, as_json: bool) -> None:
    """What happened on the host, and with --follow what happens."""
    if follow:
        for event in session.client.events(-1 if after is None else after):
            if event["kind"] == "metrics":
                continue  # a state every 15 s, and nothing that happened: `skep top` shows it
            click.echo(json.dumps(event, ensure_ascii=False) if as_json else _line(event))
        return
    found = session.get("events", after=after)
    if as_json:
        print_json(found)
        return
    for event in found:
        click.echo(_line(event))


def _line(event: dict[str, Any]) -> str:
    data = " ".join(f"{key}={value}" for key, value in event["data"].items())
    return printable(
        f"{event['number']:>6}  {moment(event['time'])}  {event['kind']:<20}  {event['ref']}  {data}".rstrip()
    )
