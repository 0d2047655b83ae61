"""Operations: the work that the server does or did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from skep.client import UNENDED, path
from skep.errors import ClientError

from .objects import print_list
from .options import completion_session, json_option, wait_option
from .output import as_json as print_json
from .output import duration, moment, printable, size
from .session import Session, pass_session
from .work import follow


def _complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        found = completion_session(ctx).get("operations")
    except (ClientError, OSError):
        return []
    return [one["id"] for one in found if one["id"].startswith(incomplete)]


id_argument: Callable[[Any], Any] = click.argument("identity", metavar="ID", shell_complete=_complete)


@click.group()
def operation() -> None:
    """Work of the server: list, show, wait, cancel, confirm, log."""


@operation.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many, newest first.")
@json_option
@pass_session
def list_(session: Session, limit: int, as_json: bool) -> None:
    """List operations, newest first."""
    headers = ("ID", "STATE", "CREATED", "TOOK", "TITLE")
    print_list(session.get("operations", limit=limit), headers, _row, as_json)


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    took = duration(max(one["ended"] - one["created"], 0.0)) if one["ended"] else None
    return (one["id"], one["state"], moment(one["created"]), took, one["title"])


@operation.command()
@id_argument
@json_option
@pass_session
def show(session: Session, identity: str, as_json: bool) -> None:
    """Show an operation with its steps."""
    found = session.get("operations", identity)
    if as_json:
        print_json(found)
        return
    click.echo(f"{found['id']}  {found['state']}  {printable(found['title'])}")
    click.echo(f"created {moment(found['created'])}, ended {moment(found['ended'])}, manager {found['manager']}")
    if found["error"]:
        click.echo(f"error: {printable(found['error'])}")
    for step in found["steps"]:
        part = (
            f"  {size(step['done'])} of {size(step['total'])}" if step["state"] == "running" and step["total"] else ""
        )
        click.echo(f"  {step['state']:<7}  {printable(step['summary'])}{part}")


@operation.command()
@id_argument
@pass_session
def wait(session: Session, identity: str) -> None:
    """Follow an operation until it ends."""
    follow(session, session.get("operations", identity))


@operation.command()
@id_argument
@wait_option
@pass_session
def cancel(session: Session, identity: str, wait: bool) -> None:
    """Cancel an operation; what it did is undone."""
    found = session.client.request("POST", path("operations", identity, "cancel")).json()
    while wait and found["state"] in UNENDED:
        found = session.client.wait(identity)
    click.echo(f"{found['id']}: {found['state']}", err=True)


@operation.command()
@id_argument
@pass_session
def confirm(session: Session, identity: str) -> None:
    """Keep a change that could have cut the line."""
    follow(session, session.client.request("POST", path("operations", identity, "confirm")).json())


@operation.command()
@id_argument
@pass_session
def log(session: Session, identity: str) -> None:
    """Print an operation's log."""
    for line in session.get("operations", identity)["log"]:
        click.echo(printable(line))
