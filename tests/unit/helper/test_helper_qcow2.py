"""What we accept of a qcow2 header, and what we refuse before any tool looks at it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from skep_helper.handlers import Failure
from skep_helper.linux.storage import disks
from skep_helper.storage import qcow2
from skep_helper.vocabulary import Rejected

CLUSTER = 65_536


def header(
    *, version: int = 3, backing: int = 0, bits: int = 16, size: int = 1 << 30, encryption: int = 0, l1: int = 2,
    l1_at: int = 3 * CLUSTER, snapshots: int = 0, snapshots_at: int = 0, incompatible: int = 0,
    extensions: bytes = bytes(8),
) -> bytes:  # fmt: skip
    fields = (b"QFI\xfb", version, backing, 0, bits, size, encryption, l1, l1_at, CLUSTER, 1, snapshots, snapshots_at)
    return struct.pack(">4sIQIIQIIQQIIQ", *fields) + struct.pack(">QQQII", incompatible, 0, 0, 4, 104) + extensions


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[bytes], int]:
    def write(data: bytes, length: int = 4 * CLUSTER) -> int:
        path = tmp_path / "image"
        path.write_bytes(data)
        os.truncate(path, length)
        return os.open(path, os.O_RDONLY)

    return write


def test_a_sound_image_has_its_size(opened: Callable[[bytes], int]) -> None:
    assert qcow2.inspect_image(opened(header())) == 1 << 30


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0" * 200, "not a qcow2"),
        (header()[:40], "0 bytes"),
        (header(version=2, l1_at=0), "outside"),
        (header(version=4), "version 4"),
        (header(bits=8), "clusters"),
        (header(bits=60), "clusters"),
        (header(backing=200), "backing file"),
        (header(extensions=struct.pack(">II8s", 0xE2792ACA, 5, b"qcow2") + bytes(8)), "backing file"),
        (header(extensions=struct.pack(">II8s", 0x44415441, 8, b"/dev/sda") + bytes(8)), "another file"),
        (header(incompatible=4), "another file"),
        (header(encryption=2), "encrypted"),
        (header(extensions=struct.pack(">II16s", 0x0537BE77, 16, b"") + bytes(8)), "encrypted"),
        (header(snapshots=1), "snapshots"),
        (header(incompatible=1), "damaged"),
        (header(incompatible=2), "damaged"),
        (header(incompatible=1 << 60), "unknown features"),
        (header(size=1 << 60), "first table"),
        (header(l1=0), "first table"),
        (header(l1=1 << 31), "first table"),
        (header(l1_at=1 << 60), "outside"),
        (header(l1_at=100), "outside"),
        (header(extensions=struct.pack(">II", 5, 1 << 31)), "do not end"),
    ],
)
def test_unsafe_and_broken_images_are_refused(opened: Callable[[bytes], int], data: bytes, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        qcow2.inspect_image(opened(data))


def test_snapshots_are_read(opened: Callable[[bytes], int]) -> None:
    def entry(identity: bytes, name: bytes) -> bytes:
        fixed = struct.pack(">QIHHIIQII", 0, 0, len(identity), len(name), 1_700_000_000, 500_000_000, 0, 0, 16)
        data = fixed + bytes(16) + identity + name
        return data + bytes(-len(data) % 8)

    table = entry(b"1", b"before") + entry(b"22", b"nightly-upgrade")
    data = header(snapshots=2, snapshots_at=CLUSTER).ljust(CLUSTER, b"\0") + table
    found = qcow2.read_snapshots(opened(data))
    assert [(item.identity, item.name) for item in found] == [("1", "before"), ("22", "nightly-upgrade")]
    assert found[0].created == 1_700_000_000.5


@pytest.mark.parametrize(("count", "at"), [(3, 4 * CLUSTER - 44), (1 << 31, CLUSTER), (1, 1 << 50)])
def test_a_broken_snapshot_table_is_refused(opened: Callable[[bytes], int], count: int, at: int) -> None:
    with pytest.raises(Rejected):
        qcow2.read_snapshots(opened(header(snapshots=count, snapshots_at=at)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (header(incompatible=4), "refers to another file"),
        # QEMU reads extensions to the end of the cluster, we 4 KiB: what stands behind them must not be overlooked.
        (header(incompatible=4, extensions=struct.pack(">II", 0x12345678, 5000) + bytes(5000)), "do not end"),
        (b"\0" * 200, "damaged"),
    ],
)
def test_a_disk_that_may_refer_to_another_file_is_not_opened(
    opened: Callable[[bytes], int], data: bytes, reason: str
) -> None:
    with pytest.raises(Failure, match=reason):
        disks.require_alone("qcow2", opened(data), "disk root")
    disks.require_alone("raw", opened(data), "disk root")
    disks.require_alone("qcow2", opened(header()), "disk root")
