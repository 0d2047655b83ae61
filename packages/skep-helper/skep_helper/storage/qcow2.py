"""The qcow2 header and snapshot table, read by ourselves: bulk readings start no process, and what an image says
about itself is judged before any tool opens it. Empty disks are written by ourselves too, which takes a tenth of the
time (QEMU's docs/interop/qcow2.txt)."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from skep_helper.vocabulary.fields import Rejected

MAGIC = b"QFI\xfb"
_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_ENTRY = struct.Struct(">QIHHIIQII")
_MORE = struct.Struct(">QQ")
"""What an entry may have besides: bytes of the VM's state, size of the disk."""
_EXTENSION = struct.Struct(">II")
_EXTERNAL_DATA, _COMPRESSION = 1 << 2, 1 << 3
_ALLOWED_INCOMPATIBLE = _COMPRESSION
_BACKING_FORMAT, _DATA_FILE, _ENCRYPTION = 0xE2792ACA, 0x44415441, 0x0537BE77
_MOST_SNAPSHOTS = 65_536
_LARGEST_TABLE = 64 << 20
_LARGEST_L1 = 32 << 20


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the first cluster says. size: virtual size in bytes."""

    version: int
    size: int
    cluster_bits: int
    backing_offset: int
    encryption: int
    l1_entries: int
    l1_offset: int
    snapshots: int
    snapshots_offset: int
    incompatible: int
    extensions: frozenset[int]

    @property
    def needs_data_file(self) -> bool:
        return bool(self.incompatible & _EXTERNAL_DATA) or _DATA_FILE in self.extensions


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """size: of the disk when it was taken; 0 when it does not say. l1_offset, l1_entries: its first table."""

    identity: str
    name: str
    created: float
    size: int
    l1_offset: int
    l1_entries: int


def read_header(descriptor: int) -> Header:
    """Parse the header of an open file; raises Rejected when it is not qcow2 or not sound."""
    data = os.pread(descriptor, 4096, 0)
    if len(data) < _V2.size or data[:4] != MAGIC:
        raise Rejected("not a qcow2 file")
    fields = _V2.unpack_from(data)
    (_, version, backing, _, cluster_bits, size, encryption, l1, l1_at, _, _, snapshots, snapshots_at) = fields
    if version not in (2, 3):
        raise Rejected(f"qcow2 version {version} is not supported (2 and 3 are)")
    if not 9 <= cluster_bits <= 21:
        raise Rejected(f"qcow2 header: clusters of 2^{cluster_bits} bytes")
    incompatible, start = 0, _V2.size
    if version == 3:
        if len(data) < _V2.size + _V3.size:
            raise Rejected("qcow2 header: it ends too early")
        incompatible, _, _, _, start = _V3.unpack_from(data, _V2.size)
        if start < _V2.size + _V3.size:
            raise Rejected(f"qcow2 header: it says that it has {start} bytes")
    return Header(
        version=version, size=size, cluster_bits=cluster_bits, backing_offset=backing, encryption=encryption,
        l1_entries=l1, l1_offset=l1_at, snapshots=snapshots, snapshots_offset=snapshots_at,
        incompatible=incompatible, extensions=_extensions(data, start),
    )  # fmt: skip


def _extensions(data: bytes, start: int) -> frozenset[int]:
    """The types of the header's extensions, as far as the first 4 KiB reach (QEMU writes a few hundred bytes)."""
    found: set[int] = set()
    at = start
    while at + _EXTENSION.size <= len(data):
        kind, length = _EXTENSION.unpack_from(data, at)
        if kind == 0:
            return frozenset(found)
        found.add(kind)
        at += _EXTENSION.size + (length + 7) // 8 * 8
    raise Rejected("qcow2 header: its extensions do not end")


def inspect_image(descriptor: int) -> int:
    """The virtual size of an image that may be used by anyone; raises Rejected for one that refers to another file,
    is encrypted, damaged, or needs what we do not know."""
    header = read_header(descriptor)
    if header.backing_offset or _BACKING_FORMAT in header.extensions:
        raise Rejected("it has a backing file; publish it flattened (qemu-img convert)")
    if header.needs_data_file:
        raise Rejected("it keeps its data in another file; publish it flattened (qemu-img convert)")
    if header.encryption or _ENCRYPTION in header.extensions:
        raise Rejected("it is encrypted; publish it without encryption")
    if header.snapshots:
        raise Rejected("it has internal snapshots; publish it without them (qemu-img convert)")
    if header.incompatible & ~_ALLOWED_INCOMPATIBLE:
        raise Rejected(f"it is damaged or needs unknown features ({header.incompatible:#x}); try qemu-img check")
    _check_l1(header, os.fstat(descriptor).st_size)
    return header.size


def _check_l1(header: Header, file_size: int) -> None:
    covered = 1 << (2 * header.cluster_bits - 3)
    needed = -(-header.size // covered)
    table = header.l1_entries * 8
    if header.l1_entries < needed or table > _LARGEST_L1:
        raise Rejected("qcow2 header: its first table does not fit its size")
    cluster = 1 << header.cluster_bits
    if header.l1_offset < cluster or header.l1_offset % cluster or header.l1_offset + table > file_size:
        raise Rejected("qcow2 header: its first table lies outside the file (is the file complete?)")


def read_snapshots(descriptor: int) -> tuple[Snapshot, ...]:
    """The internal snapshots of an open qcow2 file, in the table's order; raises Rejected when it is not sound."""
    header = read_header(descriptor)
    if not header.snapshots:
        return ()
    if header.snapshots > _MOST_SNAPSHOTS:
        raise Rejected(f"qcow2: {header.snapshots} snapshots")
    found: list[Snapshot] = []
    at = header.snapshots_offset
    if at > os.fstat(descriptor).st_size:
        raise Rejected("qcow2: the snapshot table lies outside the file")
    for _ in range(header.snapshots):
        if at - header.snapshots_offset > _LARGEST_TABLE:
            raise Rejected("qcow2: the snapshot table is too large")
        fixed = os.pread(descriptor, _ENTRY.size, at)
        if len(fixed) < _ENTRY.size:
            raise Rejected("qcow2: the snapshot table is cut off")
        l1_at, l1, id_length, name_length, seconds, nanoseconds, _, _, extra = _ENTRY.unpack(fixed)
        more = os.pread(descriptor, _MORE.size, at + _ENTRY.size) if extra >= _MORE.size else b""
        text = os.pread(descriptor, id_length + name_length, at + _ENTRY.size + extra)
        if len(text) < id_length + name_length:
            raise Rejected("qcow2: the snapshot table is cut off")
        found.append(
            Snapshot(
                identity=text[:id_length].decode(errors="replace"),
                name=text[id_length:].decode(errors="replace"),
                created=seconds + nanoseconds / 1e9,
                size=_MORE.unpack(more)[1] if len(more) == _MORE.size else 0,
                l1_offset=l1_at,
                l1_entries=l1,
            )
        )
        at += (_ENTRY.size + extra + id_length + name_length + 7) // 8 * 8
    return tuple(found)


def write_empty(descriptor: int, size: int, base: tuple[str, str] | None = None) -> None:
    """Make an empty qcow2 disk in an empty file, as qemu-img create would; base: (path, format) beneath it.

    Header, refcount table, its one block and the first table, a cluster each (the last perhaps more).
    """
    cluster_bits = 16
    cluster = 1 << cluster_bits
    l1_entries = -(-size // (1 << (2 * cluster_bits - 3)))
    used = 3 + max(1, -(-l1_entries * 8 // cluster))
    path, format = (text.encode() for text in base) if base else (b"", b"")
    extensions = _EXTENSION.pack(_BACKING_FORMAT, len(format)) + format.ljust(-(-len(format) // 8) * 8, b"\0")
    extensions = (extensions if base else b"") + _EXTENSION.pack(0, 0)
    start = _V2.size + _V3.size
    backing_at = start + len(extensions) if base else 0
    if backing_at + len(path) > 1024:
        raise Rejected("the path of the pool is too long for a qcow2 header")
    header = _V2.pack(MAGIC, 3, backing_at, len(path), cluster_bits, size, 0, l1_entries, 3 * cluster, cluster, 1, 0, 0)
    os.pwrite(descriptor, header + _V3.pack(0, 0, 0, 4, start) + extensions + path, 0)
    os.pwrite(descriptor, struct.pack(">Q", 2 * cluster), cluster)
    os.pwrite(descriptor, struct.pack(">H", 1) * used, 2 * cluster)
    os.ftruncate(descriptor, used * cluster)
