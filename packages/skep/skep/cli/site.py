"""site.toml: plan, apply, export. The server reads the text; its errors name file and line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from skep.client import path

from .failures import DATA, UNAVAILABLE, Failed
from .options import json_option, sure, wait_option, yes_option
from .output import as_json as print_json
from .plan import count, print_plan
from .session import Session, pass_session
from .work import follow

file_argument = click.argument("file", type=click.Path(allow_dash=True, path_type=Path))


def read(file: Path) -> dict[str, Any]:
    """The request for a definition in a file, or in standard input for `-`."""
    data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    try:
        return {"text": data.decode(), "file": "standard input" if str(file) == "-" else str(file)}
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Failed(f"{file}:{line}: this is not UTF-8 text; save the file as UTF-8", DATA) from None


@click.command()
@file_argument
@json_option
@pass_session
def plan(session: Session, file: Path, as_json: bool) -> None:
    """Print what `skep apply FILE` would do, and do nothing."""
    found = session.client.request("POST", path("plan"), read(file)).json()
    if as_json:
        print_json(found)
    else:
        print_plan(found)


@click.command()
@file_argument
@click.option("--restart", is_flag=True, help="Restart guests whose change needs it.")
@click.option("--confirm", is_flag=True, help="Keep a change that could have cut the line if the server still answers.")
@yes_option
@wait_option
@pass_session
def apply(session: Session, file: Path, restart: bool, confirm: bool, yes: bool, wait: bool) -> None:
    """Make the host what FILE says. Objects that FILE made before and no longer names are deleted."""
    request = read(file)
    found = session.client.request("POST", path("plan"), request).json()
    refusing = [note for note in found["notes"] if note["refuses"]]
    if found["steps"] and not refusing and not yes:
        print_plan(found)
        sure(f"This carries out {count(found)} on the host.", yes)
    answer = session.client.request("POST", path("apply"), {**request, "restart": restart})
    if not found["steps"] and not refusing:
        print_plan(found)
    follow(session, answer.json(), wait=wait, confirm=confirm)


@click.command()
@pass_session
def export(session: Session) -> None:
    """Print the running host as site.toml."""
    text = session.client.request("GET", path("export"), headers={"Accept": "application/toml"}).content
    if not text:
        raise Failed("the server gave nothing; is something defined on it?", UNAVAILABLE)
    click.echo(text.decode(), nl=False)
