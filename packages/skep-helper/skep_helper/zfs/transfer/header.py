"""The first record of a stream (struct dmu_replay_record, DRR_BEGIN): looked at before OpenZFS gets any of it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ...vocabulary import Rejected

SIZE = 312
_RECORD = "IIQQQIIQQ256s"
_MAGIC = 0x2F5BACBAC
_BEGIN = 0
_SUBSTREAM = 1
_HEADER_BITS = 0b11
_FEATURES_SHIFT = 2
_RESUMING, _REDACTED, _RAW = 1 << 20, 1 << 21, 1 << 24
_KINDS = {2: "filesystem", 3: "volume"}
_IS_CLONE = 1


@dataclass(frozen=True)
class Header:
    """kind: filesystem or volume. name: of the snapshot as the sender had it. base: guid of what it builds on, 0 for
    a whole stream."""

    kind: str
    name: str
    guid: int
    base: int
    resumes: bool
    raw: bool

    @property
    def snapshot(self) -> str:
        return self.name.partition("@")[2]


def parse(data: bytes) -> Header:
    """Raises Rejected for all but the stream of one snapshot, which carries no properties."""
    if len(data) < SIZE:
        raise Rejected("the stream ends before it has begun: the sender said nothing")
    for order in "<>":
        kind, _, magic, version, _, objects, flags, guid, base, name = struct.unpack(order + _RECORD, data[:SIZE])
        if magic == _MAGIC and kind == _BEGIN:
            break
    else:
        raise Rejected("this is not a ZFS stream")
    if version & _HEADER_BITS != _SUBSTREAM:
        raise Rejected("the stream holds several snapshots or properties (zfs send -R or -p); send one snapshot")
    features = version >> _FEATURES_SHIFT
    if objects not in _KINDS or features & _REDACTED or flags & _IS_CLONE:
        raise Rejected("the stream is of a clone, redacted, or of a kind that no guest has; send a snapshot as a whole")
    text = name.partition(b"\0")[0].decode(errors="replace")
    return Header(_KINDS[objects], text, guid, base, bool(features & _RESUMING), bool(features & _RAW))
