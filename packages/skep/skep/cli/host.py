"""The host: what it is, what works on it, what it needs."""

from __future__ import annotations

from typing import Any

import click

from skep.errors import Refused

from .failures import UNAVAILABLE
from .objects import print_list
from .options import json_option, sure, wait_option, yes_option
from .output import as_json as print_json
from .output import printable, record, size, table
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
    """Show the host: name, platform, storage, problems, and the machine: CPU, NICs, disks, pools."""
    found = session.get("host")
    try:
        machine = session.get("host", "inventory")
    except Refused:  # a helper of an older version does not know the question
        machine = None
    if as_json:
        print_json({**found, "inventory": machine})
        return
    record({**found["status"], "facts": found["facts"]})
    if machine is not None:
        _print_machine(machine)


@host.command()
@json_option
@pass_session
def health(session: Session, as_json: bool) -> None:
    """Whether all is well, and what to do where it is not. Fails when something is."""
    found = session.get("health")
    if as_json:
        print_json(found)
    elif not found["problems"]:
        click.echo("all is well")
    else:
        rows = [(one["severity"], one["ref"], one["text"], one["advice"]) for one in found["problems"]]
        table(("SEVERITY", "ABOUT", "WHAT", "WHAT TO DO"), rows)
    if found["state"] == "error":
        raise click.exceptions.Exit(UNAVAILABLE)


def _print_machine(machine: dict[str, Any]) -> None:
    cpu = machine["cpu"]
    words = {key: machine[key] for key in ("machine", "kernel", "reboot") if machine[key]}
    record(
        {**words, "cpu": f"{cpu.get('model', '')}: {cpu.get('cores', '?')} cores, {cpu.get('threads', '?')} threads"}
    )
    for title, headers, rows in (
        ("nics", ("NIC", "UP", "MAC", "SPEED", "WHAT"), [
            (one["name"], one["up"], one["mac"], one["speed"], one["description"] or one["driver"])
            for one in machine["nics"]
        ]),
        ("drives", ("DISK", "SIZE", "MODEL", "SERIAL", "SMART", "WORN"), [_drive(one) for one in machine["drives"]]),
        ("pools", ("POOL", "SIZE", "USED", "HEALTH", "PROBLEM", "LAST SCAN"), [
            (one["name"], size(one["size"]), size(one["allocated"]), one["health"], one["problem"], one["scan"])
            for one in machine["pools"]
        ]),
    ):  # fmt: skip
        if machine[title]:
            click.echo()
            table(headers, rows)
    if machine["smart"]:
        click.echo(f"\nSMART: {printable(machine['smart'])}")


def _drive(one: dict[str, Any]) -> tuple[Any, ...]:
    smart = one["smart"] or {"health": "", "worn": -1}
    worn = f"{smart['worn']} %" if smart["worn"] >= 0 else ""
    return one["name"], size(one["size"]), one["model"], one["serial"], smart["health"], worn


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
