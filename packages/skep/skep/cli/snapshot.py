"""Snapshots of guests."""

from __future__ import annotations

import time

import click

from .objects import print_list
from .options import change_options, json_option, name_argument, sure, yes_option
from .output import as_json as print_json
from .output import moment, printable, size, table
from .session import Session, pass_session
from .work import carry_out


@click.group()
def snapshot() -> None:
    """Snapshots: all disks of a guest at one instant."""


@snapshot.command("list")
@name_argument("guests", "guest")
@json_option
@pass_session
def list_(session: Session, guest: str, as_json: bool) -> None:
    """List a guest's snapshots."""
    found = session.get("guests", guest, "snapshots")
    headers = ("SNAPSHOT", "CREATED", "FROZEN", "DISKS")
    print_list(found, headers, lambda one: (one["name"], moment(one["created"]), one["frozen"], one["disks"]), as_json)


@snapshot.command()
@name_argument("guests", "guest")
@click.argument("name", required=False)
@click.option("--quiesce/--no-quiesce", default=True, help="Freeze the file systems if the guest has an agent.")
@change_options
@pass_session
def create(session: Session, guest: str, name: str | None, quiesce: bool, wait: bool) -> None:
    """Snapshot a guest, running or not. Without NAME it is called after the time."""
    body = {"name": name or time.strftime("at-%Y%m%d-%H%M%S"), "quiesce": quiesce}
    carry_out(session, "POST", ("guests", guest, "snapshots"), body, wait=wait)


@snapshot.command()
@name_argument("guests", "guest")
@click.argument("name")
@json_option
@pass_session
def compare(session: Session, guest: str, name: str, as_json: bool) -> None:
    """What changed since a snapshot, and what a rollback to it would lose."""
    found = session.get("guests", guest, "snapshots", name, "changes")
    if as_json:
        print_json(found)
        return
    rows = [(disk, size(one["written"]), size(one["grown"])) for disk, one in found["disks"].items()]
    table(("DISK", "WRITTEN SINCE", "GROWN"), rows, ("WRITTEN SINCE", "GROWN"))
    if found["newer"]:
        click.echo(f"a rollback removes the newer snapshots {', '.join(map(printable, found['newer']))}")
    if found["definition"]:
        click.echo("the definition changed, and a rollback leaves it as it is now:")
    for line in found["definition"] or ():
        click.echo(f"  {printable(line)}")


@snapshot.command()
@name_argument("guests", "guest")
@click.argument("name")
@click.option("--start", is_flag=True, help="Start the guest afterwards.")
@yes_option
@change_options
@pass_session
def rollback(session: Session, guest: str, name: str, start: bool, yes: bool, wait: bool) -> None:
    """Bring a guest's disks and UEFI variables back to a snapshot. Its definition stays."""
    session.get("guests", guest, "snapshots", name)
    sure(f"This loses what {guest} wrote since snapshot {name}.", yes)
    carry_out(session, "POST", ("guests", guest, "snapshots", name, "rollback"), {"start": start}, wait=wait)


@snapshot.command()
@name_argument("guests", "guest")
@click.argument("name")
@yes_option
@change_options
@pass_session
def delete(session: Session, guest: str, name: str, yes: bool, wait: bool) -> None:
    """Delete a snapshot. The guest itself stays as it is."""
    session.get("guests", guest, "snapshots", name)
    sure(f"This deletes snapshot {name} of {guest} for good.", yes)
    carry_out(session, "DELETE", ("guests", guest, "snapshots", name), wait=wait)
