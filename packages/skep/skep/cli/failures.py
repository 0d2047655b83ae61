"""Errors for people and exit codes for scripts (sysexits(3))."""

from __future__ import annotations

import click

from skep.errors import ClientError, Misconfigured, Refused, Unreachable

USAGE, DATA, NO_INPUT, UNAVAILABLE, SOFTWARE = 64, 65, 66, 69, 70
CANNOT_CREATE, IO_ERROR, TRY_AGAIN, NO_PERMISSION, CONFIGURATION = 73, 74, 75, 77, 78
INTERRUPTED = 130
COMMAND_LINE = "command line"
"""What requests call a definition that was written on the command line: it has no lines."""

BY_STATUS = {
    400: DATA,
    401: NO_PERMISSION,
    403: NO_PERMISSION,
    404: NO_INPUT,
    409: CANNOT_CREATE,
    412: TRY_AGAIN,
    413: DATA,
    422: DATA,
    429: TRY_AGAIN,
    503: TRY_AGAIN,
    504: TRY_AGAIN,
    507: IO_ERROR,
}


class Failed(Exception):
    """A command that cannot go on. The text says what and, after a semicolon, what to do."""

    def __init__(self, text: str, code: int = SOFTWARE) -> None:
        super().__init__(text)
        self.code = code


def report(error: BaseException) -> int:
    """Print what happened; return the exit code. Re-raises what is a fault of this program."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case SystemExit():
            return error.code if isinstance(error.code, int) else SOFTWARE
        case click.Abort() | KeyboardInterrupt():
            say("interrupted")
            return INTERRUPTED
        case click.UsageError():
            return _usage(error)
    return _report_failure(error)


def _report_failure(error: BaseException) -> int:
    match error:
        case Failed():
            say(str(error))
            return error.code
        case Refused(errors=[_, *_] as places):
            for place in places:
                say(located(place))
            return DATA
        case Refused():
            say(str(error))
            return BY_STATUS.get(error.status, SOFTWARE)
        case Unreachable():
            say(str(error))
            return UNAVAILABLE
        case Misconfigured():
            say(str(error))
            return CONFIGURATION
        case ClientError() | click.ClickException():
            say(str(error) or error.__class__.__name__)
            return SOFTWARE
        case OSError():
            say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
            return NO_INPUT if isinstance(error, FileNotFoundError) else IO_ERROR
    raise error


def located(place: dict[str, object]) -> str:
    """An error of a definition in the form that editors understand: file:line: what; what to do."""
    file, line = place.get("file"), place.get("line")
    if file == COMMAND_LINE:
        file = line = None
    where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
    hint = f"; {place['hint']}" if place.get("hint") else ""
    return f"{where}{place['detail']}{hint}"


def say(text: str) -> None:
    """One line on stderr. A place in a file stands first, so that editors find it."""
    click.echo(text if _begins_with_place(text) else f"skep: {text}", err=True)


def _begins_with_place(text: str) -> bool:
    words = text.split(":", 2)
    return len(words) == 3 and words[1].isdigit() and "/" not in words[1] and " " not in words[0]


def _usage(error: click.UsageError) -> int:
    command = error.ctx.command_path if error.ctx else "skep"
    text = error.format_message().rstrip(".")
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return USAGE
    hint = "" if ";" in text else f"; `{command} --help` says more"
    say(text[:1].lower() + text[1:] + hint)
    return USAGE
