"""Streams of the simulated host: a line of JSON that tells what comes, then as many bytes as the change is worth."""

from __future__ import annotations

import hashlib
import json
import os
import select
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from skep_helper import vocabulary as v

from skepd.host import HostError, Progress

from .storage import Disk, Folder, Image, SimStorage, Snapshot
from .table import Table

_WHOLE, _CHANGE = 256 << 10, 32 << 10
_CHUNK = 16 << 10
_HEAD_LIMIT = 16 << 10
_TICK = 0.05
Key = tuple[str, str]
"""(guest, disk); the folder is the disk without a name."""


@dataclass
class _Part:
    """Of a replica or a source. token: of an interrupted stream. bookmarks: name to guid."""

    points: dict[str, str] = field(default_factory=dict)
    bookmarks: dict[str, str] = field(default_factory=dict)
    token: str = ""


class SimStreams:
    """check() raises HostError when the request was cancelled."""

    def __init__(self, storage: SimStorage, lock: RLock, check: Callable[[], None]) -> None:
        self._storage, self._lock, self._check = storage, lock, check
        self._parts: dict[Key, _Part] = {}

    def table(self) -> Table:
        return {
            v.EstimateSend: lambda request: v.SendEstimate(size=len(self._stream(request.stream))),
            v.AbandonReceive: self.abandon,
            v.ReadReplica: self.read,
            v.PromoteGuest: self.promote,
            v.BookmarkSnapshot: self.bookmark,
        }

    def stream(self, request: Any, descriptor: int, progress: Progress | None) -> None:
        """Carry out a request that comes with a descriptor; the lock is not held while data moves."""
        told = progress or (lambda done, total: None)
        if isinstance(request, v.SendSnapshot):
            with self._lock:
                data = self._stream(request.stream)
            self._write(descriptor, data, told)
        elif isinstance(request, v.ReceiveSnapshot):
            with self._lock:
                self._check_target(request)
            data = self._read(descriptor, lambda done: told(done, max(done, request.size)))
            with self._lock:
                self._take(request, data)
        elif isinstance(request, v.ReceiveImage):
            data = self._read(descriptor, lambda done: told(done, max(done, request.size)))
            with self._lock:
                self._take_image(request, data)
        else:
            raise HostError("rejected", f"{type(request).__name__} takes no descriptor")

    # Sending

    def _stream(self, wanted: v.SnapshotStream) -> bytes:
        folder = self._storage.folder(wanted.guest)
        snapshot = folder.snapshots.get(wanted.snapshot)
        if snapshot is None or (wanted.disk is not None and wanted.disk not in snapshot.contents):
            raise HostError("missing", f"guest {wanted.guest} has no snapshot {wanted.snapshot} of this part")
        guid = self._guid(wanted.guest, wanted.disk, wanted.snapshot, snapshot)
        head: dict[str, Any] = {"snapshot": wanted.snapshot, "guid": guid, "created": snapshot.created}
        head["frozen"] = snapshot.frozen
        if wanted.base is not None:
            head["base"] = self._base(wanted, folder)
        if wanted.disk is not None:
            disk = folder.disks.get(wanted.disk)
            if disk is None:
                raise HostError("missing", f"guest {wanted.guest} has no disk {wanted.disk}")
            head["disk"] = {"size": disk.size, "format": disk.format, "edition": disk.edition, "image": disk.image}
            head["content"] = snapshot.contents[wanted.disk]
        data = bytes(_WHOLE if wanted.base is None else _CHANGE)
        if wanted.token is not None:
            came = _token_fields(wanted.token)
            if came["guid"] != guid:
                raise HostError("rejected", "the token is not of this snapshot")
            head |= {"begins": came["done"]}
            data = data[came["done"] :]
        head["length"] = len(data)
        return json.dumps(head).encode() + b"\n" + data

    def _base(self, wanted: v.SnapshotStream, folder: Folder) -> str:
        name = str(wanted.base)
        if wanted.base_kind == "bookmark":
            found = self._part(wanted.guest, wanted.disk).bookmarks.get(name)
            if found is None:
                raise HostError("missing", f"guest {wanted.guest} has no bookmark {name} of this part")
            return found
        base = folder.snapshots.get(name)
        if base is None:
            raise HostError("missing", f"guest {wanted.guest} has no snapshot {name} to begin from; take another one")
        if base.created > folder.snapshots[wanted.snapshot].created:
            raise HostError("conflict", f"snapshot {name} is not older than {wanted.snapshot}; send it whole")
        return self._guid(wanted.guest, wanted.disk, name, base)

    def _write(self, descriptor: int, data: bytes, told: Progress) -> None:
        view, total = memoryview(data), len(data)
        try:
            while view:
                self._check()
                if select.select([], [descriptor], [], _TICK)[1]:
                    view = view[os.write(descriptor, view[:_CHUNK]) :]
                    told(total - len(view), total)
        except BrokenPipeError:
            raise HostError("failed", "whoever reads the stream went away before its end; repeat it") from None

    # Receiving

    def _check_target(self, request: v.ReceiveSnapshot) -> None:
        folder = self._storage.folders.get(request.guest)
        if folder is None and request.disk is not None:
            raise HostError("missing", f"there is no guest {request.guest}: receive its folder first")
        if folder is not None and folder.promoted:
            raise HostError("conflict", f"guest {request.guest} is this host's own: receive under another name")

    def _read(self, descriptor: int, told: Callable[[int], None]) -> bytes:
        found = bytearray()
        while True:
            self._check()
            if select.select([descriptor], [], [], _TICK)[0]:
                data = os.read(descriptor, _CHUNK)
                if not data:
                    return bytes(found)
                found += data
                told(len(found))

    def _take(self, request: v.ReceiveSnapshot, data: bytes) -> None:
        text, _, rest = data.partition(b"\n")
        try:
            head = json.loads(text[:_HEAD_LIMIT])
            name, guid, length = str(head["snapshot"]), str(head["guid"]), int(head["length"])
        except (ValueError, KeyError, TypeError):
            raise HostError("rejected", "this is not a stream of a simulated host") from None
        if name != request.snapshot or ("disk" in head) != (request.disk is not None):
            raise HostError("rejected", f"the stream is of another part or snapshot ({name})")
        folder = self._storage.folders.setdefault(request.guest, Folder(promoted=False))
        part = self._part(request.guest, request.disk)
        if guid in part.points.values():
            return
        _check_base(part, head)
        if len(rest) < length:
            done = int(head.get("begins", 0)) + len(rest)
            part.token = _token({"guid": guid, "done": done})
            raise HostError(
                "failed", "the stream ended early; what came is kept: resume it with its token, or abandon it"
            )
        part.token = ""
        part.points[name] = guid
        snapshot = folder.snapshots.setdefault(name, Snapshot(float(head["created"]), bool(head["frozen"]), {}))
        if request.disk is not None:
            snapshot.contents[request.disk] = str(head["content"])
            folder.disks[request.disk] = Disk(request.disk, content=str(head["content"]), **head["disk"])

    def _take_image(self, request: v.ReceiveImage, data: bytes) -> None:
        title = f"image {request.image}:{request.version}"
        if hashlib.sha256(data).hexdigest() != request.digest:
            raise HostError("conflict", f"{title} is not what was verified; fetch it again")
        there = self._storage.images.setdefault(
            (request.image, request.version), Image("zfs", len(data), request.digest)
        )
        if there.digest != request.digest:
            raise HostError("exists", f"{title} is already there with another content; publish another version")

    def abandon(self, request: v.AbandonReceive) -> None:
        self._part(request.guest, request.disk).token = ""

    # Replicas

    def _part(self, guest: str, disk: str | None) -> _Part:
        return self._parts.setdefault((guest, disk or ""), _Part())

    def _guid(self, guest: str, disk: str | None, name: str, snapshot: Snapshot) -> str:
        """A snapshot that was received keeps the one that it came with."""
        text = f"{guest}\0{disk or ''}\0{name}\0{snapshot.created}"
        own = str(int(hashlib.sha256(text.encode()).hexdigest()[:16], 16))
        return self._part(guest, disk).points.get(name, own)

    def read(self, request: v.ReadReplica) -> v.ReplicaReading:
        folder = self._storage.folders.get(request.guest)
        if folder is None:
            return v.ReplicaReading(guest=request.guest, promoted_here=False)
        parts = (self._read_part(request.guest, folder, disk) for disk in self._disks(request.guest, folder))
        return v.ReplicaReading(guest=request.guest, promoted_here=folder.promoted, parts=tuple(parts))

    def _disks(self, guest: str, folder: Folder) -> list[str]:
        """All parts, also those of which only a beginning came."""
        begun = {disk for (name, disk), part in self._parts.items() if name == guest and part.token}
        return sorted({"", *folder.disks, *begun})

    def _read_part(self, guest: str, folder: Folder, disk: str) -> v.PartReading:
        part = self._part(guest, disk)
        points = [v.StreamPoint(name=name, guid=guid, kind="bookmark") for name, guid in sorted(part.bookmarks.items())]
        for name, snapshot in sorted(folder.snapshots.items(), key=lambda item: item[1].created):
            if not disk or disk in snapshot.contents:
                points.append(v.StreamPoint(name=name, guid=self._guid(guest, disk, name, snapshot)))
        return v.PartReading(disk=disk, points=tuple(points), token=part.token)

    def promote(self, request: v.PromoteGuest) -> None:
        folder = self._storage.folder(request.guest)
        for disk in self._disks(request.guest, folder):
            if self._part(request.guest, disk).token:
                raise HostError("conflict", f"a stream of guest {request.guest} was interrupted: resume or abandon it")
        folder.promoted = True

    def bookmark(self, request: v.BookmarkSnapshot) -> None:
        folder = self._storage.folder(request.guest)
        snapshot = folder.snapshots.get(request.snapshot)
        for disk in (None, *folder.disks):
            bookmarks = self._part(request.guest, disk).bookmarks
            if request.remove:
                bookmarks.pop(request.snapshot, None)
            elif snapshot is not None:
                bookmarks[request.snapshot] = self._guid(request.guest, disk, request.snapshot, snapshot)
            elif request.snapshot not in bookmarks:
                raise HostError("missing", f"guest {request.guest} has no snapshot {request.snapshot}")


def _check_base(part: _Part, head: dict[str, Any]) -> None:
    if bool(part.token) != ("begins" in head):
        raise HostError("conflict", "an interrupted stream goes on with its token only: resume or abandon it")
    if "base" in head and (not part.points or list(part.points.values())[-1] != head["base"]):
        raise HostError("conflict", "the newest snapshot here is not the one that the stream begins from")
    if "base" not in head and part.points:
        raise HostError("exists", "it is there already; send the changes since its newest snapshot")


def _token(fields: dict[str, Any]) -> str:
    return f"1-0-0-{json.dumps(fields).encode().hex()}"


def _token_fields(token: str) -> dict[str, Any]:
    try:
        fields = json.loads(bytes.fromhex(token.rpartition("-")[2]))
        return {"guid": str(fields["guid"]), "done": int(fields["done"])}
    except (ValueError, KeyError, TypeError):
        raise HostError("rejected", "the token is no token of an interrupted stream; begin anew without it") from None
