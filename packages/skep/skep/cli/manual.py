"""The reference of the command line, from the commands themselves: `python -m skep.cli.manual > docs/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from .main import skep

WIDTH = 100
HEAD = """\
# The command line

Made from the commands' own help by `python -m skep.cli.manual`; do not edit.

Without `--url` and `$SKEP_URL` a command speaks to skepd of this machine over its unix socket, where the kernel says
who calls. `https://HOST` reaches a host through its skep-gateway, with a token (`$SKEP_TOKEN`, or the file
`~/.config/skep/token`, mode 0600) and the certificate of its CA (`--ca`, `$SKEP_CA`, or `~/.config/skep/ca.pem`).

Lists and shows print JSON with `--json`, as the API gives it. Commands that change something wait for the end and
show progress on standard error; with `--no-wait` they print the operation's id instead. What cannot be brought back
asks on a terminal, and needs `--yes` elsewhere. Errors are one line on standard error: what happened; what to do.

| Exit code | Meaning |
| --- | --- |
| 0 | done |
| 64 | the command line is wrong |
| 65 | a definition is wrong (`file:line: ...`), or the host refuses it |
| 66 | there is no such object or file |
| 69 | the server cannot be reached; `doctor`: something does not work |
| 70 | the work failed, was cancelled or undone |
| 73 | in conflict with what is there, or owned by another manager |
| 74 | a file cannot be read or written; the host's storage is full |
| 75 | try again: it changed meanwhile, waits for a confirmation, or the server is busy |
| 77 | not allowed, or nobody was there to say yes |
| 78 | the client's own settings cannot be used; `host prepare --check`: the machine lacks something |
| 130 | interrupted; the operation goes on |
"""


def commands(command: click.Command, parent: click.Context | None, name: str) -> Iterator[tuple[str, str]]:
    """(path, help) of a command and all below it."""
    context = click.Context(command, parent=parent, info_name=name, max_content_width=WIDTH, terminal_width=WIDTH)
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None:
                yield from commands(found, context, child)


def text() -> str:
    parts = [f"## {path}\n\n```\n{help_text}\n```\n" for path, help_text in commands(skep, None, "skep")]
    return "\n".join([HEAD, *parts])


if __name__ == "__main__":
    sys.stdout.write(text())
