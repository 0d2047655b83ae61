"""site.toml(5), from the sections themselves: ``python -m skepd.model.mdoc > packaging/freebsd/man/site.toml.5``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from .profiles import PROFILES
from .reference import Page, default, pages
from .schema import REQUIRED, Key

_HEAD = """\
.\\" Made by `python -m skepd.model.mdoc` from the code that reads the file; do not edit.
.Dd November 28, 2026
.Dt SITE.TOML 5
.Os
.Sh NAME
.Nm site.toml
.Nd description of a host of Skep
.Sh DESCRIPTION
One file describes a whole machine: its uplinks, networks, images and guests.
.Ql skep plan site.toml
says what would change,
.Ql skep apply site.toml
does it, and
.Ql skep export
writes the running host as such a file.
It is written in TOML.
A key that is not on this page is an error, which names the file, the line and the nearest key there is.
.Pp
Names of objects are the last part of their section's header
.Pq Ql [guest.files] :
a-z, 0-9 and -, at most 63.
Sizes carry their unit
.Pq Qq 256M , Qq 20G ;
1K is 1024 bytes.
Durations carry theirs
.Pq Qq 90s , Qq 2m .
A list of one may be written without brackets where the type says so.
.Pp
Uplinks, VLANs and addresses of the host itself stay the administrator's:
.Ql skep host prepare
prints the lines of
.Xr rc.conf 5
for them.
"""
_RULES = """\
.Sh RULES
A rule of a filter is written
.Pp
.D1 rule     = ("in" | "out") ["ipv4" | "ipv6"] [protocol] [("from" | "to") remote] ["stateless"]
.D1 protocol = "any" | ("tcp" | "udp" | "sctp") [PORT | FIRST-LAST | several with commas]
.D1 "           | ""icmp"" [""type"" N [""code"" N]] | ""ping"" | ""proto"" N"
.D1 remote   = PREFIX | ADDRESS | "filter" NAME
.Pp
.Cm in
and
.Cm out
are as the guest sees it.
Without
.Cm ipv4
or
.Cm ipv6 ,
and without a prefix that tells, a rule holds for both.
.Cm icmp
means ICMPv6 in IPv6,
.Cm ping
is an echo request.
.Cm filter Ar NAME
stands for all ports that have that filter.
"""
_TAIL = """\
.Sh FILES
.Bl -tag -width Ds
.It Pa /usr/local/etc/skep/site.toml
where
.Xr skepd 8
looks for it when its configuration is tested
.El
.Sh SEE ALSO
.Xr skep 1 ,
.Xr rc.conf 5 ,
.Xr skep-helper 8 ,
.Xr skepd 8
"""


def render() -> str:
    parts = [_HEAD, ".Sh SECTIONS\n"]
    for page in pages():
        parts += _section(page)
    return "".join([*parts, _profiles(), _RULES, _TAIL])


def _section(page: Page) -> Iterator[str]:
    yield f".Ss {escaped(page.header)}\n"
    yield from _sentences(page.section.doc)
    yield ".Bl -tag -width Ds\n"
    for key in page.section.keys:
        yield from _key(key)
    yield ".El\n"


def _key(key: Key) -> Iterator[str]:
    yield f".It Ic {escaped(key.name)} Pq {_quoted(key.type.name)}\n"
    yield from _sentences(key.doc)
    words = default(key).replace("`", "")
    yield from _sentences("Required." if key.default is REQUIRED and "**" in words else f"Default: {words}.")
    if key.example:
        yield f"E.g.\n.Ql {escaped(key.name)} = {_quoted(key.example)}\n"


def _profiles() -> str:
    rows = "".join(
        f".It {name} Ta {escaped(profile.disk)} Ta {escaped(profile.nic)} Ta "
        f"{'local time' if profile.local_clock else 'UTC'} Ta {profile.block >> 10} KiB\n"
        for name, profile in PROFILES.items()
    )
    return (
        ".Sh PROFILES\nWhat a guest's profile chooses for it:\n"
        f".Bl -column freebsd virtio-blk virtio-net local_time blocks\n"
        f".It Profile Ta Disks Ta Cards Ta Clock Ta Blocks\n{rows}.El\n"
    )


def _sentences(text: str) -> Iterator[str]:
    """A line for each sentence, as mdoc(7) asks for."""
    for sentence in re.split(r"(?<=[a-z0-9)`\"*\]][.:;]) +(?=[A-Z`\"])", " ".join(text.split())):
        if sentence:
            yield f"{escaped(sentence.replace('`', ''))}\n"


def escaped(text: str) -> str:
    """Text as roff prints it: a backslash, a dot or quote that begins a line, and dashes that are to stay."""
    out = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{out}" if out.startswith((".", "'")) else out


def _quoted(text: str) -> str:
    """One argument of a macro."""
    return '"' + escaped(text).replace('"', '""') + '"'


if __name__ == "__main__":
    sys.stdout.write(render())
