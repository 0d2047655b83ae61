"""Requests about streams of snapshots: sending, receiving, replicas and their promotion, images. They need OpenZFS.

A guest is sent part by part: its folder (`disk` None), then each disk, all of one snapshot, so that every part can be
resumed by itself. The data travels on a descriptor that comes with the request: a pipe, a socket or a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .fields import Checked, Digest, ImageVersion, Name, _pattern, _range, word

ResumeToken = Annotated[
    str, _pattern(r"1-[0-9a-f]{1,16}-[0-9a-f]{1,8}-([0-9a-f]{2}){1,8192}", "a resume token (receive_resume_token)")
]
Bytes = Annotated[int, _range(0, 1 << 60)]


@dataclass(frozen=True, kw_only=True)
class SnapshotStream(Checked):
    """Which stream: the snapshot of one part of a guest, whole or as the changes since another snapshot of it.

    base: an earlier snapshot of the same part; base_kind bookmark: one that is gone, and was bookmarked.
    raw: as it lies on disk, encrypted data stays encrypted. compressed: blocks as they lie on disk, else unpacked.
    token: what the receiver has for the rest of an interrupted stream; it must be of this snapshot.
    """

    guest: Name
    snapshot: Name
    disk: Name | None = None
    base: Name | None = None
    base_kind: word("snapshot", "bookmark") = "snapshot"  # type: ignore[valid-type]
    raw: bool = False
    compressed: bool = True
    token: ResumeToken | None = None


@dataclass(frozen=True, kw_only=True)
class EstimateSend(Checked):
    """Answer: SendEstimate. What the stream will have, about; nothing is sent."""

    stream: SnapshotStream


@dataclass(frozen=True, kw_only=True)
class SendSnapshot(Checked):
    """Write the stream to the descriptor. Long: progress is (bytes sent, bytes estimated). Repeatable."""

    stream: SnapshotStream


@dataclass(frozen=True, kw_only=True)
class SendEstimate(Checked):
    size: int


@dataclass(frozen=True, kw_only=True)
class ReceiveSnapshot(Checked):
    """Read a stream of this snapshot from the descriptor into a replica of a guest. Long: progress is (bytes
    received, size).

    The folder comes first and makes the replica, which is read-only, is not mounted and may not be started before
    PromoteGuest. Nothing that is there is ever overwritten. An interrupted stream stays as far as it came
    (ReadReplica tells its token), until it is resumed or abandoned.
    size: of the stream as far as the caller knows, for the progress.

    What streams do not carry: of a folder's snapshot, which disks it is of and whether they were frozen; of a disk,
    its edition and the image that it was made from.
    """

    guest: Name
    snapshot: Name
    disk: Name | None = None
    size: Bytes = 0
    disks: tuple[Name, ...] = ()
    frozen: bool = False
    edition: word("thin", "full") = "thin"  # type: ignore[valid-type]
    image: Name | None = None
    version: ImageVersion | None = None


@dataclass(frozen=True, kw_only=True)
class AbandonReceive(Checked):
    """Throw away what an interrupted stream brought; whole snapshots stay. Repeatable."""

    guest: Name
    disk: Name | None = None


@dataclass(frozen=True, kw_only=True)
class ReadReplica(Checked):
    """Answer: ReplicaReading; of any guest, also of the one that is the source. One process."""

    guest: Name


@dataclass(frozen=True, kw_only=True)
class StreamPoint(Checked):
    """A snapshot or bookmark that a stream may begin or end at; the same one has the same guid on every host."""

    name: str
    guid: str
    kind: word("snapshot", "bookmark") = "snapshot"  # type: ignore[valid-type]


@dataclass(frozen=True, kw_only=True)
class PartReading(Checked):
    """disk: empty for the folder. points: oldest first. token: of an interrupted stream, empty without one."""

    disk: str
    points: tuple[StreamPoint, ...] = ()
    token: str = ""


@dataclass(frozen=True, kw_only=True)
class ReplicaReading(Checked):
    """parts: empty when there is no such guest."""

    guest: Name
    promoted_here: bool
    parts: tuple[PartReading, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PromoteGuest(Checked):
    """Make this host the one that may run the guest. Repeatable.

    Refused while a part is being received or was interrupted. That the former host does not run it any more is the
    caller's to know.
    """

    guest: Name


@dataclass(frozen=True, kw_only=True)
class BookmarkSnapshot(Checked):
    """Keep of a snapshot of all parts only where it stood, so that later changes can be sent without it. Repeatable.

    remove: the bookmarks of this name.
    """

    guest: Name
    snapshot: Name
    remove: bool = False


@dataclass(frozen=True, kw_only=True)
class ReceiveImage(Checked):
    """Read the stream of one volume from the descriptor into an image, which appears when all of it is there and is
    what the caller verified. Long: progress is (bytes received, size). Repeatable.

    Nothing is left of a stream that ends early. digest: SHA-256 of the whole stream; recorded with the image.
    """

    image: Name
    version: ImageVersion
    digest: Digest
    size: Bytes = 0


TAKE_DESCRIPTOR: frozenset[type] = frozenset({SendSnapshot, ReceiveSnapshot, ReceiveImage})
"""Requests that come alone in their frame, with one descriptor."""
STREAM_VERBS: tuple[type, ...] = (
    EstimateSend, SendSnapshot, ReceiveSnapshot, AbandonReceive, ReadReplica, PromoteGuest, BookmarkSnapshot,
    ReceiveImage,
)  # fmt: skip
