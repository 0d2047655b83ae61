"""API tokens."""

from __future__ import annotations

import click

from skep.client import path

from .objects import print_list
from .options import json_option, sure, yes_option
from .output import as_json as print_json
from .output import moment
from .session import Session, pass_session


@click.group()
def token() -> None:
    """API tokens: create, list, revoke."""


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["viewer", "operator", "admin"]), default="operator", show_default=True)
@json_option
@pass_session
def create(session: Session, name: str, role: str, as_json: bool) -> None:
    """Make a token. It is printed this once, on standard output."""
    made = session.client.request("POST", path("tokens"), {"name": name, "role": role}).json()
    if as_json:
        print_json(made)
        return
    click.echo(made["secret"])
    click.echo(f"token {made['id']} of {name} ({role}); put it into ~/.config/skep/token, mode 0600", err=True)


@token.command("list")
@json_option
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List tokens; their secrets are nowhere."""
    headers = ("ID", "NAME", "ROLE", "CREATED")
    row = lambda one: (one["id"], one["name"], one["role"], moment(one["created"]))  # noqa: E731
    print_list(session.get("tokens"), headers, row, as_json)


@token.command()
@click.argument("identity", metavar="ID")
@yes_option
@pass_session
def revoke(session: Session, identity: str, yes: bool) -> None:
    """Revoke a token: who has it gets in no more."""
    sure(f"This revokes token {identity}.", yes)
    session.client.request("DELETE", path("tokens", identity))
    click.echo(f"revoked: {identity}", err=True)
