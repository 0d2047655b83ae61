"""Guests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .objects import change, file_option, print_list, print_one, state
from .options import Size, change_options, json_option, name_argument, sure, take_over_option, wait_option, yes_option
from .output import as_json as print_json
from .output import size, table
from .session import Session, pass_session
from .work import carry_out

HEADERS = ("NAME", "STATE", "CPUS", "MEMORY", "DISKS", "ADDRESSES", "MANAGER")


@click.group()
def guest() -> None:
    """Guests: list, create, start, stop, console, ..."""


def _row(found: dict[str, Any]) -> tuple[Any, ...]:
    cpus = found["cpus"]
    return (
        found["name"],
        state(found),
        cpus["sockets"] * cpus["cores"] * cpus["threads"],
        size(found["memory"]),
        [disk["name"] for disk in found["disks"]],
        found["status"].get("addresses"),
        found["manager"],
    )


@guest.command("list")
@click.option("--usage", is_flag=True, help="What each uses now: CPU, memory, disks, network.")
@json_option
@pass_session
def list_(session: Session, usage: bool, as_json: bool) -> None:
    """List guests."""
    found = session.get("guests")
    if not usage:
        print_list(found, HEADERS, _row, as_json, right=("CPUS", "MEMORY"))
        return
    from .top import HEADERS as USAGE
    from .top import cells, newest

    used: dict[str, Any] = newest(session)["data"]["guests"] if found else {}
    if as_json:
        print_json([{**one, "usage": used.get(one["name"])} for one in found])
    else:
        rows = [(one["name"], state(one), *cells(used.get(one["name"], {}))) for one in found]
        table(("NAME", "STATE", *USAGE[1:]), rows, USAGE[1:])


@guest.command()
@name_argument("guests")
@json_option
@click.option("--toml", is_flag=True, help="Print its definition as it may be given back by --file.")
@pass_session
def show(session: Session, name: str, as_json: bool, toml: bool) -> None:
    """Show a guest: its definition and how it is."""
    print_one(session, "guests", name, as_json, toml)


@guest.command()
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@file_option
@click.option("--image", metavar="NAME[:VERSION]", help="What its first disk is made from.")
@click.option("--disk", "disk_size", type=Size(), metavar="SIZE", help="Size of its first disk (default: the image's).")
@click.option("--memory", type=Size(), metavar="SIZE", help="Memory (default: 512M).")
@click.option("--cpus", type=click.IntRange(1, 256), help="CPUs (default: 1).")
@click.option("--network", "networks", multiple=True, metavar="NAME[=ADDRESS]", help="A network; may be repeated.")
@click.option("--user", help="A user to make, who may become root.")
@click.option("--ssh-key", "keys", multiple=True, type=click.Path(path_type=Path), help="A public key that may log in.")
@click.option("--start/--no-start", default=True, help="Whether to start it (the default).")
@wait_option
@pass_session
def create(
    session: Session, /, name: str, settings: tuple[str, ...], file: Path | None, wait: bool, **flags: Any
) -> None:
    """Create a guest, and a port in each of its networks.

    E.g. skep guest create web --image small --memory 1G --network lan --ssh-key ~/.ssh/id_ed25519.pub
    """
    from .guest_create import create_guest

    create_guest(session, name, settings, file, wait, flags)


@guest.command("set")
@name_argument("guests")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@file_option
@click.option("--memory", type=Size(), metavar="SIZE")
@click.option("--cpus", type=click.IntRange(1, 256))
@click.option("--autostart/--no-autostart", default=None, help="Whether it starts with the host.")
@take_over_option
@change_options
@pass_session
def set_(
    session: Session,
    name: str,
    settings: tuple[str, ...],
    file: Path | None,
    memory: int | None,
    cpus: int | None,
    autostart: bool | None,
    take_over: bool,
    wait: bool,
) -> None:
    """Change a guest: some keys of its definition, or all of it by --file.

    E.g. skep guest set web --memory 2G boot.order=5
    """
    flags = {
        "memory": f"{memory}B" if memory else None,
        "cpus": cpus,
        "autostart": None if autostart is None else str(autostart).lower(),
    }
    given = tuple(f"{key}={value}" for key, value in flags.items() if value is not None)
    change(session, ("guests", name), settings + given, file, take_over, wait)


@guest.command()
@name_argument("guests")
@take_over_option
@yes_option
@change_options
@pass_session
def delete(session: Session, name: str, take_over: bool, yes: bool, wait: bool) -> None:
    """Delete a guest with its disks, snapshots and ports."""
    found = session.get("guests", name)
    disks = len(found["disks"])
    sure(f"This deletes guest {name} with its {disks} {'disk' if disks == 1 else 'disks'} for good.", yes)
    carry_out(session, "DELETE", ("guests", name), query={"take_over": take_over or None}, wait=wait)


def _act(verb: str, text: str) -> None:
    @guest.command(verb, help=text)
    @name_argument("guests")
    @change_options
    @pass_session
    def act(session: Session, name: str, wait: bool) -> None:
        carry_out(session, "POST", ("guests", name, "actions", verb), {}, wait=wait)


_act("start", "Start a guest.")
_act("pause", "Halt a guest's CPUs.")
_act("resume", "Let a paused guest go on.")


def _stop(verb: str, text: str) -> None:
    @guest.command(verb, help=text)
    @name_argument("guests")
    @click.option("--timeout", type=click.IntRange(0, 86_400), metavar="SECONDS", help="Of the orderly shutdown.")
    @click.option("--force/--no-force", default=True, help="End it when that time is over (the default).")
    @change_options
    @pass_session
    def stop(session: Session, name: str, timeout: int | None, force: bool, wait: bool) -> None:
        body = {"timeout": timeout, "force": force}
        carry_out(session, "POST", ("guests", name, "actions", verb), body, wait=wait)


_stop("stop", "Stop a guest in an orderly way.")
_stop("restart", "Stop a guest and start it again, with its present definition.")


@guest.command()
@name_argument("guests")
@yes_option
@change_options
@pass_session
def reset(session: Session, name: str, yes: bool, wait: bool) -> None:
    """Reset a guest at once, like its reset button: what it has not written is lost."""
    session.get("guests", name)
    sure(f"This resets guest {name} without a shutdown.", yes)
    carry_out(session, "POST", ("guests", name, "actions", "reset"), {}, wait=wait)


@guest.command()
@name_argument("guests")
@click.argument("target")
@change_options
@pass_session
def clone(session: Session, name: str, target: str, wait: bool) -> None:
    """Copy a stopped guest."""
    carry_out(session, "POST", ("guests", name, "actions", "clone"), {"target": target}, wait=wait)


@guest.command()
@name_argument("guests")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--snapshot", help="Which one, instead of one that is taken now and removed afterwards.")
@click.option("--raw", is_flag=True, help="As it lies on disk: what is encrypted stays encrypted.")
@pass_session
def export(session: Session, name: str, file: Path, snapshot: str | None, raw: bool) -> None:
    """Write a guest into a file: its definition, its ports, and all its disks at one instant, running or not.

    The host must keep its guests on OpenZFS, and so must the one that imports the file. Without --snapshot one is
    taken now. E.g. skep guest export web web.skep
    """
    from .guest_move import export as work

    work(session, name, file, snapshot, raw)


@guest.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="What it is called here.")
@click.option("--network", "networks", multiple=True, metavar="THERE=HERE", help="A network of another name here.")
@click.option("--start", is_flag=True, help="Start it afterwards.")
@wait_option
@pass_session
def import_(session: Session, file: Path, name: str | None, networks: tuple[str, ...], start: bool, wait: bool) -> None:
    """Make a guest of a file that was exported. It is off; nothing that is here is overwritten.

    May be repeated when it was interrupted: disks that came whole are not sent again. That the guest does not run
    elsewhere with the same addresses is yours to know. E.g. skep guest import web.skep --network lan=office
    """
    from .guest_move import import_ as work

    pairs = [word.partition("=") for word in networks]
    if bad := [there for there, _, here in pairs if not here]:
        raise click.UsageError(f"--network {bad[0]}: write THERE=HERE, the network's name there and here")
    work(session, file, name, {there: here for there, _, here in pairs}, start, wait)


@guest.command()
@name_argument("guests")
@click.option("--read-only", is_flag=True, help="Only look.")
@click.option("--take", is_flag=True, help="Take the keyboard from who has it.")
@pass_session
def console(session: Session, name: str, read_only: bool, take: bool) -> None:
    """A guest's serial line in this terminal. At the beginning of a line, ~. ends it and ~? helps."""
    from .console import run

    run(session, name, write=not read_only, take=take)


@guest.command()
@name_argument("guests")
@click.option("--read-only", is_flag=True, help="Only look.")
@click.option("--take", is_flag=True, help="Take the keyboard from who has it.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Where to listen on 127.0.0.1 (default: any).")
@click.option("--viewer/--no-viewer", default=True, help="Start a VNC viewer that is installed here (the default).")
@pass_session
def vnc(session: Session, name: str, read_only: bool, take: bool, port: int, viewer: bool) -> None:
    """A guest's screen in a VNC viewer of this machine: a listener on loopback, for one viewer of this user's."""
    from .vnc import run

    run(session, name, write=not read_only, take=take, port=port, viewer=viewer)


@guest.command()
@name_argument("guests")
@click.option("--bytes", "length", type=click.IntRange(1, 1 << 20), default=65_536, help="How much at most.")
@click.option("--follow", is_flag=True, help="Go on with what comes.")
@pass_session
def log(session: Session, name: str, length: int, follow: bool) -> None:
    """Print the history of a guest's serial line."""
    from .console import print_history

    print_history(session, name, length, follow)
