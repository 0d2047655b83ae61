"""The host: what it is, what works on it, what it needs."""

from __future__ import annotations

import click

from .failures import UNAVAILABLE
from .objects import print_list
from .options import json_option, sure, wait_option, yes_option
from .output import as_json as print_json
from .output import record
from .prepare import prepare
from .session import Session, pass_session
from .work import carry_out


@click.group()
def host() -> None:
    """The host itself."""


@host.command()
@json_option
@pass_session
def show(session: Session, as_json: bool) -> None:
    """Show the host: name, platform, memory, storage, problems."""
    found = session.get("host")
    if as_json:
        print_json(found)
    else:
        record({**found["status"], "facts": found["facts"]})


@host.command()
@yes_option
@wait_option
@pass_session
def down(session: Session, yes: bool, wait: bool) -> None:
    """Stop all guests and take networks away, until skepd starts anew. Definitions and disks stay."""
    sure("This stops every guest of the host.", yes)
    carry_out(session, "POST", ("host", "down"), {}, wait=wait)


host.add_command(prepare)


@click.command()
@json_option
@pass_session
def doctor(session: Session, as_json: bool) -> None:
    """What works on this host and what does not. Exits with 69 if something does not."""
    found = session.get("doctor")
    headers = ("CHECK", "WORKS", "REASON", "ADVICE")
    print_list(found, headers, lambda one: (one["name"], one["works"], one["reason"], one["advice"]), as_json)
    if not all(one["works"] for one in found):
        raise SystemExit(UNAVAILABLE)
