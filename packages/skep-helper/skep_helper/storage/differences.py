"""How much of a qcow2 disk was written since one of its internal snapshots: two trees of tables compared.

Nothing but the one file is read, whatever it says of others, and of it two clusters at a time. While a guest runs its
VMM holds back some of the tables, so that this is less than the truth.
"""

from __future__ import annotations

import os
import struct

from ..vocabulary.fields import Rejected
from .qcow2 import Header, Snapshot, read_header

_OFFSET = 0x00FF_FFFF_FFFF_FE00
_COPIED = 1 << 63
"""Whether a cluster has one user; no part of what is in it."""
_LARGEST_L1 = 32 << 20


def written_since(descriptor: int, snapshot: Snapshot) -> int:
    """Bytes of the clusters that are others now. Raises Rejected for a file that contradicts itself."""
    header = read_header(descriptor)
    size = os.fstat(descriptor).st_size
    now = _table(descriptor, header.l1_offset, header.l1_entries, size)
    then = _table(descriptor, snapshot.l1_offset, snapshot.l1_entries, size)
    entries = (1 << header.cluster_bits) // 8
    changed = 0
    for number in range(max(len(now), len(then))):
        new = now[number] & _OFFSET if number < len(now) else 0
        old = then[number] & _OFFSET if number < len(then) else 0
        if new != old:
            changed += _differing(descriptor, header, new, old, entries, size)
    return changed << header.cluster_bits


def _differing(descriptor: int, header: Header, new: int, old: int, entries: int, size: int) -> int:
    nothing = (0,) * entries
    left = _table(descriptor, new, entries, size) if new else nothing
    right = _table(descriptor, old, entries, size) if old else nothing
    return sum((one ^ other) & ~_COPIED != 0 for one, other in zip(left, right, strict=True))


def _table(descriptor: int, offset: int, entries: int, size: int) -> tuple[int, ...]:
    if entries * 8 > _LARGEST_L1 or offset + entries * 8 > size:
        raise Rejected("a table of it lies outside the file (is the file complete?)")
    return struct.unpack(f">{entries}Q", os.pread(descriptor, entries * 8, offset))
