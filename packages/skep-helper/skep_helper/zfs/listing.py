"""What `zfs list -Hp` tells, parsed: datasets and snapshots below one of them, by one command whatever their number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..handlers import Failure
from ..storage.locks import Progress
from .tool import zfs

MARKS = (
    "skep:area", "skep:guest", "skep:host", "skep:disk", "skep:image", "skep:format", "skep:digest", "skep:size",
    "skep:snapshot", "skep:disks", "skep:frozen", "skep:adopted",
)  # fmt: skip
"""User properties. They are inherited by what lies below, so each is looked at only where it is set:

skep:area      on the containers: guests, images, incoming, trash, or a key in the trash
skep:guest     on a guest's file system: its name. skep:host: the host that may run it
skep:disk      on a volume: its edition, thin or full. skep:image: NAME:VERSION it was made from
skep:adopted   on a volume that was somebody else's: the dataset that it was (see adoption)
skep:format    on an image: raw, qcow2 or iso as it came. skep:digest: SHA-256 of what came. skep:size: its bytes
skep:snapshot  on snapshots that Skep took: the name. skep:disks: of what (commas). skep:frozen: yes or no
"""
COLUMNS = (
    "name", "type", "creation", "createtxg", "used", "available", "volsize", "volblocksize", "refreservation",
    "origin", "userrefs", "mounted", "mountpoint", *MARKS,
)  # fmt: skip
_KINDS = "filesystem,volume,snapshot"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file system, volume or snapshot. Sizes in bytes, created in seconds since 1970, txg: of its creation.

    marks: its user properties, inherited ones too, without those that are not set.
    """

    name: str
    kind: str
    created: int = 0
    txg: int = 0
    used: int = 0
    available: int = 0
    size: int = 0
    block: int = 0
    reserved: int = 0
    origin: str = ""
    holds: int = 0
    mounted: bool = False
    mountpoint: str = ""
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def leaf(self) -> str:
        """The last component of a dataset's name; of a snapshot, what stands behind the @."""
        return self.name.rpartition("@" if self.kind == "snapshot" else "/")[2]

    @property
    def dataset(self) -> str:
        """Of a snapshot: whose it is."""
        return self.name.partition("@")[0]

    @property
    def parent(self) -> str:
        return self.name.rpartition("/")[0]

    def mark(self, key: str) -> str:
        return self.marks.get(f"skep:{key}", "")


@dataclass(frozen=True)
class Tree:
    """A dataset and everything below it, by name."""

    entries: dict[str, Entry]

    def get(self, name: str) -> Entry | None:
        return self.entries.get(name)

    def below(self, name: str) -> Iterator[Entry]:
        """The datasets right below this one."""
        return (entry for entry in self.entries.values() if entry.kind != "snapshot" and entry.parent == name)

    def datasets(self) -> Iterator[Entry]:
        return (entry for entry in self.entries.values() if entry.kind != "snapshot")

    def snapshots(self, dataset: str = "") -> Iterator[Entry]:
        """All, or those of one dataset; the oldest first, as zfs list has them."""
        return (
            entry
            for entry in self.entries.values()
            if entry.kind == "snapshot" and (not dataset or entry.dataset == dataset)
        )


def command(name: str, depth: int | None = None) -> list[str]:
    """The words after `zfs`. depth: how many levels below the name; None: all."""
    reach = ["-r"] if depth is None else ["-d", str(depth)]
    return ["list", "-Hp", *reach, "-t", _KINDS, "-o", ",".join(COLUMNS), name]


def read(name: str, *, depth: int | None = None, progress: Progress | None = None) -> Tree:
    """A dataset with what lies below it; an empty tree when there is no such dataset."""
    try:
        return parse(zfs(*command(name, depth), progress=progress))
    except Failure as failure:
        if failure.code != "missing" or "no such pool" in failure.message:
            raise
        return Tree({})


def parse(text: str, columns: tuple[str, ...] = COLUMNS) -> Tree:
    entries = [_entry(line, columns) for line in text.splitlines()]
    return Tree({entry.name: entry for entry in entries})


def _entry(line: str, columns: tuple[str, ...]) -> Entry:
    words = line.split("\t")
    if len(words) != len(columns):
        raise Failure("failed", f"zfs list gave {len(words)} columns instead of {len(columns)}: {line[:100]!r}")
    found = dict.fromkeys(COLUMNS, "")
    found.update((name, "" if word == "-" else word) for name, word in zip(columns, words, strict=True))
    return Entry(
        name=found["name"], kind=found["type"], created=_number(found["creation"]), txg=_number(found["createtxg"]),
        used=_number(found["used"]), available=_number(found["available"]), size=_number(found["volsize"]),
        block=_number(found["volblocksize"]), reserved=_number(found["refreservation"]), origin=found["origin"],
        holds=_number(found["userrefs"]), mounted=found["mounted"] == "yes", mountpoint=found["mountpoint"],
        marks={name: found[name] for name in MARKS if found[name]},
    )  # fmt: skip


def _number(word: str) -> int:
    """Also "none", which some versions write for a reservation of nothing."""
    return int(word) if word.isdigit() else 0
