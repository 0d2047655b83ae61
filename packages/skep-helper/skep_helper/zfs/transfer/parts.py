"""What there is of a guest: its parts with the snapshots and bookmarks that streams begin and end at."""

from __future__ import annotations

from ...handlers import Context, Failure
from ...policy import Policy
from ...vocabulary import PartReading, ReadReplica, ReplicaReading, StreamPoint
from .. import names
from ..identity import host_id
from ..tool import zfs

_COLUMNS = "name,type,guid,createtxg,receive_resume_token,skep:host"
_Points = list[tuple[int, StreamPoint]]


def dataset(policy: Policy, guest: str, disk: str | None) -> str:
    """Of a guest's folder (disk None) or of one of its disks."""
    return names.guest(policy, guest) if disk is None else names.disk(policy, guest, disk)


def named(guest: str, disk: str | None) -> str:
    """A part, as people call it."""
    return f"the folder of guest {guest}" if disk is None else f"disk {disk} of guest {guest}"


def read_replica(context: Context, request: ReadReplica) -> ReplicaReading:
    return read(context.policy, request.guest)


def read(policy: Policy, guest: str) -> ReplicaReading:
    """By one process."""
    folder = names.guest(policy, guest)
    try:
        text = zfs("list", "-Hp", "-r", "-t", "filesystem,volume,snapshot,bookmark", "-o", _COLUMNS, folder)
    except Failure as failure:
        if failure.code != "missing" or "no such pool" in failure.message:
            raise
        return ReplicaReading(guest=guest, promoted_here=False)
    return parse(guest, folder, host_id(), text)


def parse(guest: str, folder: str, host: str, text: str) -> ReplicaReading:
    """What `zfs list` told. Snapshots and bookmarks of others are left out."""
    tokens: dict[str, str] = {}
    points: dict[str, _Points] = {}
    promoted = False
    for line in text.splitlines():
        name, kind, guid, transaction, token, owner = line.split("\t")
        whole, _, point = name.replace("#", "@").partition("@")
        part = whole.removeprefix(folder).removeprefix("/")
        if kind in ("snapshot", "bookmark"):
            if point.startswith(names.SNAPSHOT):
                found = StreamPoint(name=point.removeprefix(names.SNAPSHOT), guid=guid, kind=kind)
                points.setdefault(part, []).append((int(transaction), found))
            continue
        tokens[part] = token.removeprefix("-")
        promoted = promoted or (name == folder and owner == host)
    readings = (
        PartReading(disk=part, token=token, points=_in_order(points.get(part, []))) for part, token in tokens.items()
    )
    return ReplicaReading(guest=guest, promoted_here=promoted, parts=tuple(readings))


def _in_order(points: _Points) -> tuple[StreamPoint, ...]:
    return tuple(point for _, point in sorted(points, key=lambda item: item[0]))


def part_of(reading: ReplicaReading, disk: str | None) -> PartReading | None:
    return next((part for part in reading.parts if part.disk == (disk or "")), None)
