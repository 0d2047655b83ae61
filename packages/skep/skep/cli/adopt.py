"""Guests of other managers: taking them over, and giving them back."""

from __future__ import annotations

from typing import Any

import click

from skep.client import path

from .failures import DATA, Failed
from .options import json_option, sure, wait_option, yes_option
from .output import as_json as print_json
from .output import printable
from .plan import print_plan
from .session import Session, pass_session
from .work import follow

VM_BHYVE = ("adoption", "vm-bhyve")


@click.group()
def adopt() -> None:
    """Take guests of another manager over, without copying their disks."""


def _networks(_ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in given:
        switch, equals, network = pair.partition("=")
        if not equals or not switch or not network:
            raise click.BadParameter(f"{pair!r} is not SWITCH=NETWORK")
        found[switch] = network
    return found


@adopt.command("vm-bhyve")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--dry-run", is_flag=True, help="Only say what is there and what would be done.")
@click.option("--undo", is_flag=True, help="Give adopted guests back to vm-bhyve, disks and all.")
@click.option(
    "--network",
    "networks",
    multiple=True,
    callback=_networks,
    metavar="SWITCH=NETWORK",
    help="The network of Skep for the cards on a switch; may be repeated.",
)
@click.option("--profile", metavar="NAME", help="freebsd, openbsd, linux or windows: the system of these guests.")
@json_option
@yes_option
@wait_option
@pass_session
def vm_bhyve(
    session: Session,
    names: tuple[str, ...],
    dry_run: bool,
    undo: bool,
    networks: dict[str, str],
    profile: str | None,
    as_json: bool,
    yes: bool,
    wait: bool,
) -> None:
    """Take stopped guests of vm-bhyve over; without a NAME all of them. Their zvols are renamed, not copied.

    Nothing of vm-bhyve's is deleted; --undo renames everything back.
    """
    if undo:
        _give_back(session, names, dry_run, as_json, yes, wait)
        return
    body = {"names": names, "networks": networks, "profile": profile}
    found = session.client.request("POST", path(*VM_BHYVE, "plan"), body).json()
    if as_json:
        print_json(found)
    else:
        _print(found)
    refused = [one["source"] for one in found["guests"] if not one["possible"]]
    if dry_run:
        return
    taken = [one["source"] for one in found["guests"] if one["possible"]]
    if (refused and names) or not taken:
        listed = f" of {', '.join(refused)}" if refused else ""
        raise Failed(f"nothing was taken over; the lines with ! say what stands against it{listed}", DATA)
    sure(f"This takes {', '.join(taken)} over from vm-bhyve.", yes)
    answer = session.client.request("POST", path(*VM_BHYVE), {**body, "names": taken})
    follow(session, answer.json(), wait=wait)


def _give_back(session: Session, names: tuple[str, ...], dry_run: bool, as_json: bool, yes: bool, wait: bool) -> None:
    if not names:
        raise click.UsageError("name the guests to give back")
    body = {"names": names}
    found = session.client.request("POST", path(*VM_BHYVE, "return", "plan"), body).json()
    if as_json:
        print_json(found)
    else:
        print_plan(found)
    if dry_run:
        return
    sure(f"This gives {', '.join(names)} back to vm-bhyve; what Skep knows of them goes.", yes)
    follow(session, session.client.request("POST", path(*VM_BHYVE, "return"), body).json(), wait=wait)


def _print(found: dict[str, Any]) -> None:
    for one in found["guests"]:
        what = "can be taken over" if one["possible"] else "cannot be taken over"
        called = f" as {one['name']}" if one["possible"] and one["name"] != one["source"] else ""
        click.echo(f"guest {printable(one['source'])} {what}{called}")
        for finding in one["findings"]:
            click.echo(f"  {'!' if finding['refuses'] else '*'} {printable(finding['text'])}")
    for source, name in found["already"].items():
        click.echo(f"guest {printable(source)} was taken over already (guest {name})")
    if not found["guests"] and not found["already"]:
        click.echo("vm-bhyve has no guests in the datasets that the policy names")
    elif found["plan"]["steps"]:
        print_plan(found["plan"])
