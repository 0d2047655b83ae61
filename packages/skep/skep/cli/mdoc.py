"""skep(1), from the commands' own help: `python -m skep.cli.mdoc > packaging/freebsd/man/skep.1`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import click

from .main import skep
from .manual import HEAD

_TOP = """\
.\\" Made by `python -m skep.cli.mdoc` from the commands' own help; do not edit.
.Dd November 28, 2026
.Dt SKEP 1
.Os
.Sh NAME
.Nm skep
.Nd guests, disks and networks of a host
.Sh SYNOPSIS
.Nm
.Op Fl Fl url Ar url
.Op Fl Fl ca Ar file
.Op Fl Fl token-file Ar file
.Ar command
.Op Ar argument ...
.Sh DESCRIPTION
.Nm
speaks to
.Xr skepd 8
of this machine over its unix socket, where the kernel says who calls, or to that of another one through its
.Xr skep-gateway 8 ,
with a token.
Lists and shows print JSON with
.Fl Fl json ,
as the API gives it.
Commands that change something wait for the end and show progress on standard error; with
.Fl Fl no-wait
they print the operation's id instead.
What cannot be brought back asks on a terminal, and needs
.Fl Fl yes
elsewhere.
"""
_TAIL = """\
.Sh ENVIRONMENT
.Bl -tag -width SKEP_TOKEN
.It Ev SKEP_URL
Where the server is:
.Pa unix:/PATH
or
.Pa https://HOST .
.It Ev SKEP_CA
Certificate of the CA to trust.
.It Ev SKEP_TOKEN
The token that shows who calls.
.El
.Sh FILES
.Bl -tag -width Ds
.It Pa /var/run/skepd/skepd.sock
Where skepd of this machine listens.
.It Pa ~/.config/skep/token
The token, mode 0600.
.It Pa ~/.config/skep/ca.pem
Certificate of the CA to trust.
.El
.Sh EXIT STATUS
Errors are one line on standard error: what happened; what to do.
The codes are those of
.Xr sysexits 3 .
.Bl -tag -width 130
"""
_SEE = """\
.El
.Sh SEE ALSO
.Xr site.toml 5 ,
.Xr skep-gateway 8 ,
.Xr skep-helper 8 ,
.Xr skepd 8
"""


def text() -> str:
    parts = [_TOP, "The options are as follows:\n.Bl -tag -width Ds\n", *_options(skep), ".El\n.Sh COMMANDS\n"]
    context = click.Context(skep, info_name="skep")
    for name in skep.list_commands(context):
        command = skep.get_command(context, name)
        if command is not None:
            parts += _command(command, context, name)
    codes = re.findall(r"^\| ([0-9]+) \| (.*) \|$", HEAD, re.MULTILINE)
    parts.append(_TAIL)
    parts += [f".It {code}\n{escaped(meaning.replace('`', ''))}\n" for code, meaning in codes]
    return "".join([*parts, _SEE])


def _command(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    """It and all below it."""
    context = click.Context(command, parent=parent, info_name=name)
    words = context.command_path.removeprefix("skep ")
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None:
                yield from _command(found, context, child)
        return
    arguments = [
        parameter.make_metavar(context) for parameter in command.params if parameter.param_type_name == "argument"
    ]
    given = f" Ar {' '.join(map(escaped, arguments))}" if arguments else ""
    yield f".Ss {escaped(words)}\n.Nm\n.Cm {escaped(words)}{given}\n.Pp\n"
    yield from _sentences(command.help or "")
    options = list(_options(command))
    if options:
        yield from (".Bl -tag -width Ds\n", *options, ".El\n")


def _options(command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name="x")
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if parameter.param_type_name != "option" or record is None:
            continue
        flags, words = record
        yield f".It {_flags(flags)}\n"
        yield from _sentences(words)


def _flags(flags: str) -> str:
    """--yes, -y as macros; what follows a flag is its argument."""
    out = []
    for part in re.split(r", | / ", flags):
        flag, _, argument = part.partition(" ")
        name = flag.removeprefix("-")
        dashes = "Fl Fl " if name.startswith("-") else "Fl "
        given = f' Ar "{escaped(argument)}"' if argument else ""
        out.append(f"{dashes}{name.removeprefix('-')}{given}")
    return " , ".join(out)


def _sentences(words: str) -> Iterator[str]:
    """A line for each sentence, as mdoc(7) asks for; paragraphs apart."""
    paragraphs = [" ".join(part.split()) for part in words.replace("\b", "").split("\n\n")]
    for number, paragraph in enumerate(part for part in paragraphs if part):
        if number:
            yield ".Pp\n"
        for sentence in re.split(r"(?<=[a-z0-9)`*\]][.:;]) +(?=[A-Z`])", paragraph):
            yield f"{escaped(sentence.replace('`', ''))}\n"


def escaped(words: str) -> str:
    """Text as roff prints it: a backslash, a dot or quote that begins a line, dashes that are to stay."""
    out = words.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{out}" if out.startswith((".", "'")) else out


if __name__ == "__main__":
    sys.stdout.write(text())
