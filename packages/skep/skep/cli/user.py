"""Accounts of the web pages, their sessions, and the audit log."""

from __future__ import annotations

import sys
from typing import Any

import click

from skep.client import path

from .failures import USAGE, Failed
from .objects import print_list
from .options import json_option, name_argument, sure, yes_option
from .output import as_json as print_json
from .output import moment
from .session import Session, pass_session

ROLES = click.Choice(["viewer", "operator", "admin"])
stdin_option = click.option("--stdin", "from_stdin", is_flag=True, help="Read the password's line from standard input.")


@click.group()
def user() -> None:
    """Accounts of the web pages: list, create, delete, role, password, link, sessions."""


@user.command("list")
@json_option
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List accounts."""
    headers = ("NAME", "ROLE", "CREATED", "PASSWORD", "PASSKEYS", "HELD BACK")

    def row(one: dict[str, Any]) -> tuple[Any, ...]:
        held = f"{one['locked']:.0f} s" if one["locked"] else ""
        return (one["name"], one["role"], moment(one["created"]), one["password"], len(one["passkeys"]), held)

    print_list(session.get("users"), headers, row, as_json)


@user.command()
@click.argument("name")
@click.option("--role", type=ROLES, default="viewer", show_default=True)
@stdin_option
@click.option("--no-password", is_flag=True, help="Set none: nobody can sign in as this user until there is one.")
@pass_session
def create(session: Session, name: str, role: str, from_stdin: bool, no_password: bool) -> None:
    """Make an account. The password is asked for twice, or read from standard input."""
    if from_stdin and no_password:
        raise Failed("--stdin and --no-password contradict each other; leave one out", USAGE)
    password = None if no_password else _password(f"Password of {name}", from_stdin)
    session.client.request("POST", path("users"), {"name": name, "role": role, "password": password})
    click.echo(f"created: {name} ({role})", err=True)


@user.command()
@name_argument("users")
@yes_option
@pass_session
def delete(session: Session, name: str, yes: bool) -> None:
    """Delete an account. Its sessions and consoles end at once."""
    sure(f"This deletes the account {name}.", yes)
    session.client.request("DELETE", path("users", name))
    click.echo(f"deleted: {name}", err=True)


@user.command()
@name_argument("users")
@click.argument("role", type=ROLES)
@pass_session
def role(session: Session, name: str, role: str) -> None:
    """Change what a user may do, from his next click on."""
    session.client.request("PATCH", path("users", name), {"role": role})
    click.echo(f"{name} is {role}", err=True)


@user.command()
@name_argument("users")
@stdin_option
@pass_session
def password(session: Session, name: str, from_stdin: bool) -> None:
    """Set a user's password. His sessions end, and what held his sign-in back is forgotten."""
    session.client.request("PUT", path("users", name, "password"), {"password": _password("New password", from_stdin)})
    click.echo(f"the password of {name} is set", err=True)


@user.command()
@json_option
@pass_session
def link(session: Session, as_json: bool) -> None:
    """Print a link that makes an administrator, once, within an hour. On the host itself only.

    The link before it does not count any more.
    """
    made = session.client.request("POST", path("setup", "link")).json()
    if as_json:
        print_json(made)
        return
    click.echo(made["url"])
    click.echo(f"opens once, until {moment(made['expires'])}; who has it is administrator of this host", err=True)


@user.command()
@json_option
@pass_session
def sessions(session: Session, as_json: bool) -> None:
    """List the browsers that are signed in."""
    headers = ("ID", "USER", "ROLE", "SINCE", "SEEN", "FROM", "BROWSER")
    row = lambda one: (  # noqa: E731
        *(one[key] for key in ("id", "user", "role")), moment(one["created"]), moment(one["seen"]), one["peer"],
        one["agent"][:40],
    )  # fmt: skip
    print_list(session.get("sessions"), headers, row, as_json)


@user.command("sign-out")
@click.argument("identity", metavar="ID")
@pass_session
def sign_out(session: Session, identity: str) -> None:
    """End a session, and the consoles that were opened by it."""
    session.client.request("DELETE", path("sessions", identity))
    click.echo(f"ended: {identity}", err=True)


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Of the newest records.")
@click.option("--before", type=click.IntRange(0), default=0, metavar="NUMBER", help="Only older ones than this.")
@json_option
@pass_session
def audit(session: Session, limit: int, before: int, as_json: bool) -> None:
    """Who changed what, the newest last."""
    headers = ("NUMBER", "TIME", "WHO", "BY", "FROM", "ACTION", "OBJECT", "OUTCOME")
    row = lambda one: (  # noqa: E731
        one["number"], moment(one["time"]), *(one[key] for key in ("who", "via", "peer", "action", "ref", "outcome"))
    )  # fmt: skip
    print_list(session.get("audit", limit=limit, before=before)[::-1], headers, row, as_json)


def _password(question: str, from_stdin: bool) -> str:
    """Never from the command line, which other users of the machine can read."""
    if from_stdin:
        given = sys.stdin.readline().rstrip("\r\n")
        if not given:
            raise Failed("there was no password on standard input", USAGE)
        return given
    if not sys.stdin.isatty():
        raise Failed("nobody is there to type a password; give it by --stdin", USAGE)
    answer: str = click.prompt(question, hide_input=True, confirmation_prompt=True, err=True)
    return answer
