"""Deaths at every command of what changes the pool: create, clone, snapshot, rollback, receive, promote, trash, images.

After a new helper and the same request once more, all is as after an undisturbed run: datasets, snapshots, marks,
holds, contents.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zfs_lab
from skep_helper import vocabulary as v
from zfs_deaths import REAL, Mortal, dies_everywhere
from zfs_lab import await_node

MIB = 1 << 20
KEY = "a" * 32
FOLDER = v.CreateGuestFolder(guest="files")
Everywhere = Callable[..., int]


@pytest.fixture
def everywhere(module_pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Everywhere:
    def work(*deeds: Callable[[Mortal], None]) -> int:
        return dies_everywhere(module_pool, tmp_path, monkeypatch, *deeds)

    return work


def disk(name: str = "data", **fields: object) -> v.CreateDisk:
    return v.CreateDisk(**{"guest": "files", "disk": name, "size": 4 * MIB, "format": "zvol", **fields})  # type: ignore[arg-type]


def nothing(host: Mortal) -> None:
    """An empty host."""


def two_disks(host: Mortal) -> None:
    host.do(FOLDER, disk("one"), disk("two"))


def an_image(host: Mortal) -> None:
    host.do(v.OpenImageWriter(image="debian", version="13", format="raw", size=2 * MIB))
    descriptor = host.answers.pop()
    os.pwrite(descriptor, os.urandom(MIB), 0)
    os.close(descriptor)
    host.do(v.PublishImage(image="debian", version="13", format="raw", digest="d" * 64))


def write(host: Mortal, name: str, text: bytes) -> None:
    with await_node(f"{host.policy.dataset}/guests/files/{name}").open("r+b") as device:
        device.write(text.ljust(4096, b"."))
        device.flush()
        os.fsync(device.fileno())


def read(host: Mortal, name: str) -> bytes:
    with await_node(f"{host.policy.dataset}/guests/files/{name}").open("rb") as device:
        return device.read(4096).rstrip(b".")


def test_create(everywhere: Everywhere) -> None:
    assert everywhere(nothing, lambda host: host.do(FOLDER, disk(), disk("own", edition="full")))


def test_clone(everywhere: Everywhere) -> None:
    def prepare(host: Mortal) -> None:
        an_image(host)
        host.do(FOLDER)

    base = {"image": "debian", "version": "13"}
    assert everywhere(
        prepare,
        lambda host: host.do(disk(size=None, **base), disk("more", **base), disk("own", edition="full", **base)),
    )


def test_clone_of_a_guest(everywhere: Everywhere) -> None:
    def prepare(host: Mortal) -> None:
        two_disks(host)
        host.do(v.CreateGuestFolder(guest="copy"))

    assert everywhere(prepare, lambda host: host.do(disk("one", guest="copy", source_guest="files", size=None)))


def test_snapshot_and_its_removal(everywhere: Everywhere) -> None:
    take = v.SnapshotGuest(guest="files", snapshot="a")
    assert everywhere(two_disks, lambda host: host.do(take))

    def prepare(host: Mortal) -> None:
        two_disks(host)
        host.do(take)

    assert everywhere(prepare, lambda host: host.do(v.RemoveSnapshot(guest="files", snapshot="a")))


def test_rollback_of_several_disks(everywhere: Everywhere) -> None:
    def prepare(host: Mortal) -> None:
        two_disks(host)
        for snapshot in ("a", "b"):
            for name in ("one", "two"):
                write(host, name, snapshot.encode())
            host.do(v.SnapshotGuest(guest="files", snapshot=snapshot))

    def deed(host: Mortal) -> None:
        host.do(v.RollBackGuest(guest="files", snapshot="a"))

    def again(host: Mortal) -> None:
        """Either nothing has begun, or a new helper has finished it for all disks: never some of each."""
        found = {read(host, name) for name in ("one", "two")}
        assert len(found) == 1, found
        deed(host)
        assert {read(host, name) for name in ("one", "two")} == {b"a"}

    assert everywhere(prepare, deed, again)


@pytest.fixture(scope="module")
def streams(module_pool: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Streams of a folder and of a disk, snapshot `one`, in files."""
    folder = tmp_path_factory.mktemp("streams")
    top, volume = f"{module_pool}/source", f"{module_pool}/source/data"
    zfs_lab.zfs("create", "-o", "mountpoint=none", top)
    zfs_lab.zfs("create", "-s", "-V", "4M", volume)
    with await_node(volume).open("r+b") as device:
        device.write(os.urandom(3 * MIB))
    zfs_lab.zfs("snapshot", "-r", f"{top}@skep-one")
    for name, dataset in (("folder", top), ("disk", volume)):
        with (folder / name).open("wb") as target:
            subprocess.run([REAL, "send", f"{dataset}@skep-one"], stdout=target, check=True)
    zfs_lab.zfs("destroy", "-r", top)
    return folder / "folder", folder / "disk"


def receive(host: Mortal, stream: Path, name: str | None) -> None:
    with stream.open("rb") as source:
        disks = ("data",) if name is None else ()
        request = v.ReceiveSnapshot(guest="files", snapshot="one", disk=name, disks=disks)
        host.do(request, descriptor=source.fileno())


def test_receive_and_promote(everywhere: Everywhere, streams: tuple[Path, Path]) -> None:
    parts = list(zip(streams, (None, "data"), strict=True))

    def deed(host: Mortal) -> None:
        for stream, name in parts:
            receive(host, stream, name)
        host.do(v.PromoteGuest(guest="files"))

    def again(host: Mortal) -> None:
        if not host.do(v.ReadReplica(guest="files")).promoted_here:
            for stream, name in parts:
                # What came of an interrupted stream is kept for its token; here it is begun anew.
                host.do(v.AbandonReceive(guest="files", disk=name))
                receive(host, stream, name)
        host.do(v.PromoteGuest(guest="files"))

    assert everywhere(nothing, deed, again)


def test_trash(everywhere: Everywhere) -> None:
    trash, back = v.TrashGuestFolder(guest="files", key=KEY), v.UntrashGuestFolder(guest="files", key=KEY)
    assert everywhere(two_disks, lambda host: host.do(trash))

    def prepare(host: Mortal) -> None:
        two_disks(host)
        host.do(trash)

    assert everywhere(prepare, lambda host: host.do(back))
    assert everywhere(prepare, lambda host: host.do(v.EmptyTrash(key=KEY)))


def test_a_disk_to_the_trash_and_back(everywhere: Everywhere) -> None:
    remove = v.RemoveDisk(guest="files", disk="one", key=KEY)
    assert everywhere(two_disks, lambda host: host.do(remove))

    def prepare(host: Mortal) -> None:
        two_disks(host)
        host.do(remove)

    assert everywhere(prepare, lambda host: host.do(v.RemoveDisk(guest="files", disk="one", key=KEY, undo=True)))


def test_an_image_of_a_stream(everywhere: Everywhere, streams: tuple[Path, Path]) -> None:
    digest = hashlib.sha256(streams[1].read_bytes()).hexdigest()
    request = v.ReceiveImage(image="debian", version="13", digest=digest)

    def deed(host: Mortal) -> None:
        with streams[1].open("rb") as source:
            host.do(request, descriptor=source.fileno())

    assert everywhere(nothing, deed)


def test_a_raw_image_is_published(everywhere: Everywhere) -> None:
    def prepare(host: Mortal) -> None:
        host.do(v.OpenImageWriter(image="debian", version="13", format="raw", size=2 * MIB))
        os.close(host.answers.pop())

    request = v.PublishImage(image="debian", version="13", format="raw", digest="d" * 64)
    assert everywhere(prepare, lambda host: host.do(request))
