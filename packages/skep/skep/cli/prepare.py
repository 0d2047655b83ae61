"""`skep host prepare`: what a machine needs of its administrator before Skep can run on it. Nothing is ever written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from skep.client import path
from skep.errors import Unreachable

from .failures import CONFIGURATION, Failed
from .options import json_option
from .output import as_json as print_json
from .output import printable, table
from .session import Session, pass_session
from .site import file_argument, read

PROGRAM = "skep-prepare"
COMMANDS = "command"


@click.command()
@file_argument
@click.option("--check", is_flag=True, help="Say what of it this machine lacks; exits with 78 if it lacks something.")
@json_option
@pass_session
def prepare(session: Session, file: Path, check: bool, as_json: bool) -> None:
    """Print what the machine that FILE (a site.toml) is for needs of its administrator.

    Lines for rc.conf, loader.conf, sysctl.conf and devfs.rules, and commands for root. Nothing is written: these files
    stay yours. Without a server, as on a new machine or a laptop, skepd's program skep-prepare is used where skepd is
    installed.
    """
    needs = _ask(session, read(file), check)
    lacking = [need for need in needs if need["state"] != "present"]
    if as_json:
        print_json(needs)
    elif check:
        _tell(lacking, len(needs))
    else:
        _print(needs)
    if check and lacking:
        raise SystemExit(CONFIGURATION)


def _ask(session: Session, request: dict[str, Any], check: bool) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = session.client.request(
            "POST", path("host", "prepare"), {**request, "check": check}
        ).json()
    except Unreachable as error:
        program = shutil.which(PROGRAM, path=str(Path(sys.executable).parent)) or shutil.which(PROGRAM)
        if program is None:
            error.hint = f"{error.hint} Or install skepd here: its {PROGRAM} needs no server"
            raise
        found = _run(program, request, check)
    return found


def _run(program: str, request: dict[str, Any], check: bool) -> list[dict[str, Any]]:
    argv = [program, "--file", request["file"], *(["--check"] if check else [])]
    done = subprocess.run(argv, input=request["text"], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise Failed(done.stderr.strip().removeprefix(f"{PROGRAM}: ") or f"{program} failed", done.returncode)
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer


def _print(needs: list[dict[str, Any]]) -> None:
    """As files: what belongs together below its place, the reason above it."""
    last = ""
    for (place, reason), group in groupby(needs, lambda need: (need["place"], need["reason"])):
        if place != last:
            title = "once, as root" if place == COMMANDS else place
            click.echo(f"{chr(10) if last else ''}### {title}")
            last = place
        click.echo(f"# {printable(reason)}")
        for need in group:
            click.echo("\n".join(printable(line) for line in need["line"].splitlines()))


def _tell(lacking: list[dict[str, Any]], count: int) -> None:
    if not lacking:
        click.echo(f"all {count} are there")
        return
    rows = [(one["state"], one["place"], one["line"].splitlines()[0], one["found"]) for one in lacking]
    table(("STATE", "PLACE", "LINE", "FOUND"), rows)
