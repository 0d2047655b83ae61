"""docs/site-toml.md, made from the sections themselves: ``python -m skepd.model.reference > docs/site-toml.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from .profiles import PROFILES
from .schema import REQUIRED, Key, Section
from .sections import BOOT, CLOUD_INIT, CPUS, DISK, FORWARD, GATE, LEG, MEDIA, ROUTER_KEYS, SOURCE, TablePairs
from .site_sections import (
    DEFAULT_CLOUD_INIT,
    HOST,
    MANAGEMENT,
    NAMED_SECTIONS,
    RETENTION,
    SITE_NIC,
    SITE_SUBNET,
    STORAGE,
)

INTRODUCTION = """\
# site.toml

Made by `python -m skepd.model.reference` from the code that reads the file; do not edit it by hand.

One file describes a whole machine. `skep plan site.toml` says what would change, `skep apply site.toml` does it,
`skep export` writes the running host as such a file. A key that is not on this page is an error, which names the file,
the line and the nearest key there is. Sections whose part is not built yet are read and checked; `plan` lists them as
"not built yet", and `apply` refuses. Uplinks, VLANs and addresses of the host itself stay the administrator's: `skep
host prepare` prints the lines of rc.conf for them.

- **Names** of objects are the last part of their section's header (`[guest.files]`): a-z, 0-9 and -, at most 63.
- **Sizes** carry their unit: `"256M"`, `"20G"`, `"1.5T"`; 1K is 1024 bytes.
- **Durations** carry theirs: `"90s"`, `"2m"`, `"12h"`, `"1d"`.
- **Addresses** are IPv4 or IPv6. A prefix has no bits after its length: `"10.77.0.0/24"`.
- A list of one may be written without brackets where the type says "or a list of such".
"""

RULES = """\
### Rules

    rule     = ("in" | "out") ["ipv4" | "ipv6"] [protocol] [("from" | "to") remote] ["stateless"]
    protocol = "any" | ("tcp" | "udp" | "sctp") [PORT | FIRST-LAST | several with commas]
             | "icmp" ["type" N ["code" N]] | "ping" | "proto" N
    remote   = PREFIX | ADDRESS | "filter" NAME

`in` and `out` are as the guest sees it. Without `ipv4` or `ipv6`, and without a prefix that tells, a rule holds for
both. `icmp` means ICMPv6 in IPv6, `ping` is an echo request. `filter NAME` stands for all ports that have that filter.

| Rule | Meaning |
|---|---|
| `in tcp 22` | ssh from anywhere |
| `in tcp 80,443 from 10.0.0.0/8` | web from a prefix |
| `in udp 5000-5010 from filter telephones` | a range of ports from the members of a filter |
| `in ping` | echo requests |
| `out any` | everything that the guest begins |
"""


@dataclass(frozen=True)
class Page:
    """A section under its header."""

    header: str
    section: Section
    level: int = 2


def render() -> str:
    """The page."""
    parts = [INTRODUCTION]
    for page in pages():
        parts.append(_section(page.header, page.section, page.level))
        if page.header == "[filter.NAME]":
            parts.append(RULES)
        elif page.header == _LAST_OF_GUEST:
            parts.append(_profiles())
    return "\n".join(parts)


_LAST_OF_GUEST = "[guest.NAME.cloud-init]"


def pages() -> Iterator[Page]:
    """Every section that a site may have, in the order of the reference."""
    yield Page("[host]", HOST)
    yield Page("[host.management]", MANAGEMENT, 3)
    yield Page("[storage]", STORAGE)
    yield Page("[defaults.cloud-init]", DEFAULT_CLOUD_INIT)
    for name, (section, _) in NAMED_SECTIONS.items():
        yield Page(f"[{name}.NAME]", section)
        yield from _inner(name)


def _inner(name: str) -> Iterator[Page]:
    """Tables inside a section."""
    if name == "network":
        yield Page("[[network.NAME.subnet]]", SITE_SUBNET, 3)
    elif name == "router":
        yield Page("[[router.NAME.leg]]", LEG, 3)
        yield from (Page(f"[[router.NAME.{key.name}]]", pairs, 3) for key, pairs in _pair_tables())
        yield Page("[[router.NAME.forward]]", FORWARD, 3)
    elif name == "port":
        yield Page("sources: { mac, prefix }", SOURCE, 3)
    elif name == "guest":
        for header, section in (
            ("[guest.NAME.cpus]", CPUS),
            ("[[guest.NAME.disk]]", DISK),
            ("[[guest.NAME.nic]]", SITE_NIC),
            ("[[guest.NAME.media]]", MEDIA),
            ("[guest.NAME.boot]", BOOT),
            ("[guest.NAME.boot.gate]", GATE),
            (_LAST_OF_GUEST, CLOUD_INIT),
        ):
            yield Page(header, section, 3)
    elif name == "schedule":
        yield Page("[schedule.NAME.keep]", RETENTION, 3)


def _pair_tables() -> Iterator[tuple[Key, Section]]:
    for key in ROUTER_KEYS:
        if isinstance(key.type, TablePairs):
            yield key, key.type.section


def _section(header: str, section: Section, level: int) -> str:
    lines = [f"{'#' * level} `{header}`", ""]
    lines += [section.doc, ""] if section.doc else []
    lines += ["| Key | Type | Default | Meaning |", "|---|---|---|---|"]
    for key in section.keys:
        example = f" E.g. `{key.name} = {key.example}`." if key.example else ""
        cells = (f"`{key.name}`", key.type.name, default(key), f"{key.doc}{example}")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def default(key: Key) -> str:
    """What a key is when it is not written, in Markdown."""
    if key.default_text:
        return key.default_text
    if key.default is REQUIRED:
        return "**required**"
    if key.default in (None, "", ()):
        return "none"
    written = key.type.write(key.default)
    return f"`{str(written).lower()}`" if isinstance(written, bool | int) else f'`"{written}"`'


def _profiles() -> str:
    lines = ["### Profiles", "", "| Profile | For | Disks | Network cards | Clock | Blocks of blank volumes |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, profile in PROFILES.items():
        clock = "local time" if profile.local_clock else "UTC"
        cells = (
            f"`{name}`",
            profile.title,
            f"`{profile.disk}`",
            f"`{profile.nic}`",
            clock,
            f"{profile.block >> 10} KiB",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(render())
