"""What travels about guests that move between hosts: streams of snapshots, replicas, promotion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from .wire import Request, Word


class StreamPoint(Struct, kw_only=True):
    """A snapshot or bookmark that a stream may begin or end at; the same one has the same guid on every host."""

    name: str
    guid: str
    kind: str = "snapshot"


class ReplicaPart(Struct, kw_only=True):
    """disk: empty for the guest's folder. token: of an interrupted stream, for the sender."""

    disk: str
    points: tuple[StreamPoint, ...] = ()
    token: str = ""


class Replica(Struct, kw_only=True):
    """parts: empty when nothing of the guest is here. promoted: whether this host may run it."""

    guest: str
    promoted: bool
    parts: tuple[ReplicaPart, ...] = ()


class StreamQuery(Request, kw_only=True):
    """disk: which one, none for the guest's folder. base: an earlier snapshot; the stream is what changed since.

    raw: as it lies on disk, encrypted data stays encrypted. token: of a receiver, for the rest of a stream.
    """

    disk: Word | None = None
    base: Word | None = None
    raw: bool = False
    token: Annotated[str, Meta(min_length=1, max_length=40_000)] | None = None


class ReceiveQuery(Request, kw_only=True):
    """disk: which one, none for the guest's folder, which comes first. disks: all of the guest, with commas.

    edition, image ("NAME:VERSION"): of a disk, what streams do not carry.
    """

    disk: Word | None = None
    disks: Annotated[str, Meta(max_length=16_384)] = ""
    frozen: bool = False
    edition: Literal["thin", "full"] = "thin"
    image: Word | None = None


class PartQuery(Request, kw_only=True):
    """disk: which one, none for the guest's folder."""

    disk: Word | None = None


class Promotion(Request, kw_only=True):
    """What a replica is from now on: a guest and its ports, as they were read on the host it comes from."""

    guest: dict[str, Any]
    ports: Annotated[tuple[dict[str, Any], ...], Meta(max_length=64)] = ()
