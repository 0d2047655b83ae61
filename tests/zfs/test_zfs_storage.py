"""The storage's handlers on real OpenZFS: what is in the disks afterwards, and what is left alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from skep_helper import zfs as storage
from skep_helper.handlers import Failure
from skep_helper.policy import Policy
from skep_helper.vocabulary import (
    EmptyTrash,
    GrowDisk,
    OpenImageWriter,
    PublishImage,
    RemoveDisk,
    RemoveImage,
    RemoveSnapshot,
    RollBackGuest,
    SnapshotGuest,
    TrashGuestFolder,
)
from skep_helper.zfs import features, nodes, sources
from zfs_lab import made_pool, names, zfs, zpool

sys.path.append(str(Path(__file__).resolve().parent.parent / "unit" / "zfs"))
from zfs_bench import DIGEST, KEY, MIB, Bench

NIGHTLY, BACK = SnapshotGuest(guest="files", snapshot="nightly"), RollBackGuest(guest="files", snapshot="nightly")


class Real(Bench):
    """Requests to the handlers, on a dataset of a real pool."""

    def __init__(self, dataset: str, folder: Path) -> None:
        self.dataset = dataset
        self.pool = folder / "pool"
        self.policy = Policy(pool=self.pool, run=folder / "run", dataset=dataset, user="nobody")

    def write(self, guest: str, disk: str, text: bytes) -> None:
        descriptor = sources.open_disk(self.policy, guest, disk)
        try:
            os.pwrite(descriptor, text.ljust(4096, b"."), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def holds(self, guest: str, disk: str) -> bytes:
        return content(sources.open_disk(self.policy, guest, disk, os.O_RDONLY))


def content(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, 4096, 0).rstrip(b".\0")
    finally:
        os.close(descriptor)


@pytest.fixture
def lab(pool: str, tmp_path: Path) -> Real:
    made = Real(f"{pool}/skep", tmp_path)
    made.start()
    return made


def test_what_is_inherited_and_what_is_reserved(lab: Real) -> None:
    lab.image()
    lab.guest("files", "thin")
    lab.ask(lab.disk("files", "full", edition="full"))
    lab.ask(lab.disk("files", "copy", edition="full", image="debian", version="12"))
    lab.ask(GrowDisk(guest="files", disk="copy", size=16 * MIB))
    guest = f"{lab.dataset}/guests/files"
    told = zfs("get", "-Hp", "-o", "value,source", "volmode", f"{guest}/thin").strip()
    assert told == f"dev\tinherited from {lab.dataset}/guests"
    for disk in ("full", "copy"):
        size, reserved = zfs("get", "-Hp", "-o", "value", "volsize,refreservation", f"{guest}/{disk}").split()
        assert int(reserved) >= int(size)
    assert lab.holds("files", "copy").startswith(b"imageimage")
    assert zfs("get", "-Hp", "-o", "value", "origin", f"{guest}/copy").strip() == "-"
    assert {name for name in names("-r", "-t", "snapshot", guest) if name} == set()


def test_back_to_a_snapshot(lab: Real) -> None:
    lab.guest("files", "data", "root")
    variables = lab.pool / "guests/files/uefi-vars.fd"
    for text in (b"one", b"two", b"three"):
        for disk in ("data", "root"):
            lab.write("files", disk, text)
        variables.write_bytes(text)
        if text != b"three":
            lab.ask(SnapshotGuest(guest="files", snapshot="nightly" if text == b"one" else "weekly"))
    zfs("snapshot", f"{lab.dataset}/guests/files/root@daily")
    with pytest.raises(Failure, match="@daily is newer"):
        lab.ask(BACK)
    zfs("destroy", f"{lab.dataset}/guests/files/root@daily")
    lab.ask(BACK)
    lab.ask(BACK)
    assert [lab.holds("files", disk) for disk in ("data", "root")] == [b"one", b"one"]
    assert variables.read_bytes() == b"one"
    assert [snapshot.snapshot for snapshot in lab.folder("files").snapshots] == ["nightly"]


def test_an_image_is_what_it_was_when_it_was_published(lab: Real) -> None:
    request = OpenImageWriter(image="debian", version="1.0+b~1", format="raw", size=8 * MIB)
    _, (descriptor,) = lab.ask_with(request)
    os.pwrite(descriptor, b"before", 0)
    lab.ask(PublishImage(image="debian", version="1.0+b~1", format="raw", digest=DIGEST))
    os.pwrite(descriptor, b"after", 0)
    os.fsync(descriptor)
    os.close(descriptor)
    lab.guest("files")
    lab.ask(lab.disk("files", "root", image="debian", version="1.0+b~1", size=None))
    assert content(sources.open_image(lab.policy, "debian", "1.0+b~1")) == b"before"
    assert lab.holds("files", "root") == b"before"
    with pytest.raises(OSError, match=r"Read-only|not permitted|Permission"):
        os.open(sources.image_path(lab.policy, "debian", "1.0+b~1"), os.O_RDWR)


def test_a_copy_of_a_guest_outlives_it(lab: Real) -> None:
    lab.image()
    lab.guest("one")
    lab.guest("two")
    lab.ask(lab.disk("one", "root", image="debian", version="12", size=None))
    lab.write("one", "root", b"of one")
    lab.ask(lab.disk("two", "root", source_guest="one", size=None))
    assert lab.reading().images[0].users == 2
    lab.ask(TrashGuestFolder(guest="one", key=KEY))
    lab.ask(EmptyTrash(key=KEY))
    assert lab.holds("two", "root") == b"of one"
    with pytest.raises(Failure, match="is the base of two/root"):
        lab.ask(RemoveImage(image="debian", version="12"))
    lab.ask(TrashGuestFolder(guest="two", key=KEY))
    lab.ask(EmptyTrash(key=KEY))
    lab.ask(RemoveImage(image="debian", version="12"))
    assert names("-r", "-t", "all", lab.dataset) == {
        lab.dataset, *(f"{lab.dataset}/{area}" for area in storage.names.AREAS)
    }  # fmt: skip


def test_a_new_disk_of_an_old_name_is_not_the_old_one(lab: Real) -> None:
    lab.guest("files", "root")
    for _ in range(3):
        lab.write("files", "root", b"old")
        lab.ask(RemoveDisk(guest="files", disk="root", key=KEY))
        lab.ask(lab.disk("files", "root"))
        assert lab.holds("files", "root") == b""
        lab.ask(EmptyTrash(key=KEY))


def test_the_pool_is_too_small(lab: Real) -> None:
    lab.guest("files")
    with pytest.raises(Failure, match="out of space") as caught:
        lab.ask(lab.disk("files", "root", edition="full", size=100 << 30))
    assert caught.value.code == "full"
    assert lab.folder("files").disks == ()


def test_a_pool_that_lost_a_disk_says_so(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "two")]
    for file in files:
        with file.open("wb") as stream:
            stream.truncate(128 << 20)
    with made_pool("skepd", "mirror", *map(str, files)) as pool:
        policy = Policy(pool=tmp_path / "pool", run=tmp_path / "run", dataset=f"{pool}/skep", user="nobody")
        assert features.health(policy) == ""
        zpool("offline", pool, str(files[1]))
        told = features.health(policy)
        assert "pool skepd is DEGRADED: " in told
        assert "replace them" in told


def test_a_held_snapshot_stays(lab: Real) -> None:
    lab.guest("files", "data")
    lab.ask(NIGHTLY)
    held = f"{lab.dataset}/guests/files/data@skep-nightly"
    zfs("hold", "somebody", held)
    remove = RemoveSnapshot(guest="files", snapshot="nightly")
    with pytest.raises(Failure, match="zfs release") as caught:
        lab.ask(remove)
    assert caught.value.code == "conflict"
    assert [snapshot.snapshot for snapshot in lab.folder("files").snapshots] == ["nightly"]
    zfs("release", "somebody", held)
    lab.ask(remove)
    assert lab.folder("files").snapshots == ()


def test_a_disk_in_use_is_not_destroyed(lab: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skep_helper.zfs.tool._PATIENCE", 1.0)
    lab.guest("files", "root")
    lab.ask(TrashGuestFolder(guest="files", key=KEY))
    descriptor = nodes.open_volume(f"{lab.dataset}/trash/{KEY}/files/root", os.O_RDWR)
    with pytest.raises(Failure, match="busy") as caught:
        lab.ask(EmptyTrash(key=KEY))
    assert caught.value.code == "busy"
    os.close(descriptor)
    lab.ask(EmptyTrash(key=KEY))
    assert lab.reading().trash == ()


def test_a_folder_in_use_is_not_moved(lab: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skep_helper.zfs.tool._PATIENCE", 1.0)
    lab.guest("files", "root")
    with (lab.pool / "guests/files/open").open("w"), pytest.raises(Failure, match="busy") as caught:
        lab.ask(TrashGuestFolder(guest="files", key=KEY))
    assert caught.value.code == "busy"
    assert lab.folder("files").disks
    lab.ask(TrashGuestFolder(guest="files", key=KEY))


def test_a_node_that_is_gone_is_mended(lab: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_MEND", 0.5)
    lab.guest("files", "root")
    volume = f"{lab.dataset}/guests/files/root"
    zfs("set", "volmode=none", volume)
    nodes.await_node(volume)
    assert zfs("get", "-H", "-o", "source", "volmode", volume).startswith("inherited")
