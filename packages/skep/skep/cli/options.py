"""Options and arguments that many commands have, and completion of names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from skep.errors import ClientError

from .failures import NO_PERMISSION, Failed
from .session import Session

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, as the server gave it.")
wait_option = click.option("--wait/--no-wait", default=True, help="Wait until the work has ended (the default).")
DRY_RUN = "skep.dry-run"


def _note_dry_run(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    ctx.meta[DRY_RUN] = value


_dry_run_option = click.option(
    "--dry-run",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_note_dry_run,
    help="Print what it would do, and do nothing.",
)


def change_options(command: F) -> F:
    """The options of a command whose work can be planned first: --wait, --dry-run."""
    return _dry_run_option(wait_option(command))


def is_dry_run() -> bool:
    """Whether this command shall only say what it would do."""
    return bool(click.get_current_context().meta.get(DRY_RUN))


yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
take_over_option = click.option("--take-over", is_flag=True, help="Also if another manager owns it.")


def name_argument(plural: str, name: str = "name") -> Callable[[F], F]:
    """The name of an object, completed by what the server has."""

    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            found = completion_session(ctx).get(plural)
        except (ClientError, OSError):
            return []
        return [entry["name"] for entry in found if entry["name"].startswith(incomplete)]

    decorator: Callable[[F], F] = click.argument(name, shell_complete=complete)
    return decorator


def completion_session(ctx: click.Context) -> Session:
    """While a shell completes, the group's function does not run; its options are there all the same."""
    options = ctx.find_root().params
    return Session(options.get("url"), options.get("ca"), options.get("token_file"))


def sure(question: str, yes: bool) -> None:
    """Ask before something that cannot be brought back. Raises Failed when nobody can be asked, or says no."""
    if yes or is_dry_run():
        return
    if not sys.stdin.isatty():
        raise Failed(f"{question} Nobody is there to ask; say --yes", NO_PERMISSION)
    if not click.confirm(f"{question} Go on?", err=True):
        raise Failed("nothing was done", NO_PERMISSION)


UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Size(click.ParamType[int]):
    """Bytes, written 512M, 20G, 1.5T."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).upper().removesuffix("IB").rstrip()
        number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS and text[-1:] else (text, "")
        try:
            size = int(float(number) * UNITS[unit])
        except (ValueError, OverflowError):
            size = 0
        if size <= 0:
            self.fail(f"{value!r} is not a size; write e.g. 512M or 20G", param, ctx)
        return size
