"""The content of a qcow2 file, cluster by cluster: what makes it a volume (QEMU's docs/interop/qcow2.txt).

Nothing but the one file is read, whatever it says of others, and no more than a cluster is kept. A file that
contradicts itself is Rejected.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator

from ..vocabulary.fields import Rejected
from .qcow2 import Header, read_header

_OFFSET = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED = 1 << 62
_ZERO = 1
_COMPRESSION_AT = 104
_WINDOW = -12
_SECTOR = 512


def read_clusters(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """(offset in the disk, data) of every cluster that holds something; what is left out is zeros."""
    header = read_header(descriptor)
    if _compression(descriptor, header) != 0:
        raise Rejected("it is compressed by zstd, which is not read here; publish it compressed by zlib, or raw")
    size = os.fstat(descriptor).st_size
    cluster = 1 << header.cluster_bits
    entries = cluster // 8
    for number, table in enumerate(_table(descriptor, header.l1_offset, header.l1_entries, size)):
        if not table & _OFFSET:
            continue
        for index, entry in enumerate(_table(descriptor, table & _OFFSET, entries, size)):
            place = (number * entries + index) * cluster
            if place >= header.size:
                break
            data = _cluster(descriptor, entry, header, size)
            if data:
                yield place, data[: header.size - place]


def _compression(descriptor: int, header: Header) -> int:
    """0 is zlib, 1 zstd."""
    if header.version < 3 or not header.incompatible & (1 << 3):
        return 0
    return os.pread(descriptor, 1, _COMPRESSION_AT)[0]


def _table(descriptor: int, offset: int, entries: int, size: int) -> tuple[int, ...]:
    if offset + entries * 8 > size:
        raise Rejected("a table of it lies outside the file (is the file complete?)")
    return struct.unpack(f">{entries}Q", os.pread(descriptor, entries * 8, offset))


def _cluster(descriptor: int, entry: int, header: Header, size: int) -> bytes:
    """The data of one cluster, empty for zeros."""
    cluster = 1 << header.cluster_bits
    if entry & _COMPRESSED:
        return _inflate(descriptor, entry, header)
    offset = entry & _OFFSET
    if not offset or entry & _ZERO:
        return b""
    if offset >= size:
        raise Rejected("a cluster of it lies outside the file (is the file complete?)")
    # The last one may be cut off: what is missing is zeros.
    return os.pread(descriptor, cluster, offset).ljust(cluster, b"\0")


def _inflate(descriptor: int, entry: int, header: Header) -> bytes:
    cluster = 1 << header.cluster_bits
    bits = 62 - (header.cluster_bits - 8)
    offset = entry & ((1 << bits) - 1)
    sectors = (entry & (_COMPRESSED - 1)) >> bits
    length = (sectors + 1) * _SECTOR - offset % _SECTOR
    try:
        data = zlib.decompressobj(_WINDOW).decompress(os.pread(descriptor, length, offset), cluster)
    except zlib.error as error:
        raise Rejected(f"a compressed cluster of it is damaged ({error})") from None
    if len(data) != cluster:
        raise Rejected("a compressed cluster of it is cut off")
    return data
