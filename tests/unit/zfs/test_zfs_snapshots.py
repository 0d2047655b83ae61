"""Snapshots and rollbacks on OpenZFS: one instant, one journal, and nothing of anybody else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_zfs import Died
from skep_helper import zfs
from skep_helper.handlers import Failure
from skep_helper.policy import Policy
from skep_helper.vocabulary import (
    CompareSnapshot,
    DiskChanges,
    GrowDisk,
    RemoveDisk,
    RemoveSnapshot,
    RollBackGuest,
    SnapshotGuest,
    WriteSeed,
)
from skep_helper.zfs import snapshots
from skep_helper.zfs.listing import Entry, Tree
from zfs_bench import KEY, Bench

GUEST = "tank/skep/guests/files"
NIGHTLY = SnapshotGuest(guest="files", snapshot="nightly")
BACK = RollBackGuest(guest="files", snapshot="nightly")
FILES = ("uefi-vars.fd", "tpm.state")


@pytest.fixture
def files(bench: Bench) -> Bench:
    bench.guest("files", "data", "root")
    change(bench, 1)
    return bench


def change(bench: Bench, byte: int) -> None:
    for name in ("data", "root"):
        with bench.node("files", name).open("r+b") as stream:
            stream.write(bytes([byte]))
    for name in FILES:
        (bench.pool / "guests/files" / name).write_bytes(bytes([byte]))


def state(bench: Bench) -> list[int]:
    found = [bench.node("files", name).read_bytes()[0] for name in ("data", "root")]
    paths = [bench.pool / "guests/files" / name for name in FILES]
    return [*found, *(path.read_bytes()[0] if path.exists() else -1 for path in paths)]


def test_one_command_for_all_of_it(files: Bench) -> None:
    files.zfs.calls.clear()
    assert files.ask(NIGHTLY) == {"frozen": False}
    assert files.ask(NIGHTLY) == {"frozen": False}
    marks = ["-o", "skep:snapshot=nightly", "-o", "skep:disks=data,root", "-o", "skep:frozen=no"]
    targets = [f"{name}@skep-nightly" for name in (GUEST, f"{GUEST}/data", f"{GUEST}/root")]
    assert files.said("snapshot") == [["zfs", "snapshot", *marks, *targets]]
    (found,) = files.folder("files").snapshots
    assert (found.snapshot, found.disks, found.frozen) == ("nightly", ("data", "root"), False)


def test_back_to_a_snapshot(files: Bench) -> None:
    files.ask(NIGHTLY)
    change(files, 2)
    files.ask(SnapshotGuest(guest="files", snapshot="weekly"))
    change(files, 3)
    files.ask(BACK)
    assert state(files) == [1, 1, 1, 1]
    assert [item.snapshot for item in files.folder("files").snapshots] == ["nightly"]
    files.ask(BACK)
    assert not [name for name in files.zfs.nodes if "weekly" in name]


def test_what_changed_since_is_asked_by_one_command(files: Bench) -> None:
    files.ask(NIGHTLY)
    compare = CompareSnapshot(guest="files", snapshot="nightly")
    assert [one.written for one in files.ask(compare).disks] == [0, 0]
    change(files, 2)
    files.ask(SnapshotGuest(guest="files", snapshot="weekly"))
    size = files.folder("files").disks[0].size
    files.ask(GrowDisk(guest="files", disk="data", size=2 * size))
    files.zfs.calls.clear()
    found = files.ask(compare)
    assert found.disks == (DiskChanges(disk="data", written=1, grown=size), DiskChanges(disk="root", written=1))
    assert found.newer == ("weekly",)
    volumes = [f"{GUEST}/data", f"{GUEST}/root"]
    assert files.said("get") == [["zfs", "get", "-Hp", "-o", "name,value", "written@skep-nightly", *volumes]]
    assert len(files.said("list")) == 1
    files.ask(RemoveDisk(guest="files", disk="root", key=KEY))
    with pytest.raises(Failure, match="needs disk root"):
        files.ask(compare)
    with pytest.raises(Failure, match="no snapshot daily"):
        files.ask(CompareSnapshot(guest="files", snapshot="daily"))


def test_variables_that_were_not_there_are_not_there_again(files: Bench) -> None:
    for name in FILES:
        (files.pool / "guests/files" / name).unlink()
    files.ask(NIGHTLY)
    change(files, 2)
    files.ask(BACK)
    assert state(files) == [1, 1, -1, -1]


def test_a_newer_snapshot_of_somebody_else_is_never_destroyed(files: Bench) -> None:
    files.ask(NIGHTLY)
    change(files, 2)
    files.zfs.zfs_snapshot(f"{GUEST}/root@daily")
    with pytest.raises(Failure, match="zfs destroy tank/skep/guests/files/root@daily") as caught:
        files.ask(BACK)
    assert caught.value.code == "conflict"
    assert state(files) == [2, 2, 2, 2]
    assert not (files.pool / "guests/files/rollback.json").exists()
    files.zfs.zfs_destroy(f"{GUEST}/root@daily")
    # One of the folder is no hindrance: the folder is not rolled back.
    files.zfs.zfs_snapshot(f"{GUEST}@daily")
    files.ask(BACK)
    assert state(files) == [1, 1, 1, 1]
    assert f"{GUEST}@daily" in files.zfs.nodes


def test_a_held_newer_snapshot_is_told(files: Bench) -> None:
    files.ask(NIGHTLY)
    files.ask(SnapshotGuest(guest="files", snapshot="sent"))
    files.zfs.zfs_hold("replica", f"{GUEST}/data@skep-sent")
    with pytest.raises(Failure, match="zfs holds") as caught:
        files.ask(BACK)
    assert caught.value.code == "conflict"


def test_a_rollback_dies_before_every_command_and_is_finished(files: Bench) -> None:
    files.ask(NIGHTLY)
    files.ask(SnapshotGuest(guest="files", snapshot="weekly"))
    files.zfs.calls.clear()
    files.ask(BACK)
    commands = len(files.zfs.calls)
    begun = 0
    for number in range(1, commands + 1):
        change(files, 2)
        files.ask(SnapshotGuest(guest="files", snapshot="weekly"))
        files.zfs.calls.clear()
        files.zfs.dies_at = number
        with pytest.raises(Died):
            files.ask(BACK)
        files.zfs.dies_at = 0
        if (files.pool / "guests/files/rollback.json").exists():
            begun += 1
            with pytest.raises(Failure, match="repeat it to finish it"):
                files.ask(NIGHTLY)
            zfs.recover(files.policy)
            assert state(files) == [1, 1, 1, 1]
        assert not (files.pool / "guests/files/rollback.json").exists()
    assert begun > 3


def test_all_disks_go_back_or_none(files: Bench) -> None:
    files.ask(NIGHTLY)
    change(files, 2)
    files.ask(RemoveDisk(guest="files", disk="root", key=KEY))
    with pytest.raises(Failure, match="needs disk root"):
        files.ask(BACK)
    files.ask(files.disk("files", "root"))
    with pytest.raises(Failure, match="made anew"):
        files.ask(BACK)


def test_a_disk_comes_back_from_the_trash_with_an_old_snapshot(files: Bench) -> None:
    files.ask(NIGHTLY)
    files.ask(RemoveDisk(guest="files", disk="root", key=KEY))
    files.ask(RemoveSnapshot(guest="files", snapshot="nightly"))
    files.ask(RemoveDisk(guest="files", disk="root", key=KEY, undo=True))
    change(files, 2)
    files.ask(NIGHTLY)
    change(files, 3)
    files.ask(BACK)
    assert state(files) == [2, 2, 2, 2]
    files.ask(RemoveSnapshot(guest="files", snapshot="nightly"))
    assert not [name for name in files.zfs.nodes if "nightly" in name]
    files.ask(RemoveSnapshot(guest="files", snapshot="nightly"))


def test_a_running_guest_is_frozen_meanwhile(files: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    @contextmanager
    def quiesced(policy: object, guest: str, *, wanted: bool) -> Iterator[bool]:
        said.append(f"freeze {guest} {wanted}")
        yield wanted
        said.append("thaw")

    files.zfs.hook = lambda argv: said.append(argv[1]) if argv[1] == "snapshot" else None
    monkeypatch.setattr("skep_helper.guard.client.is_running", lambda policy, guest: True)
    monkeypatch.setattr("skep_helper.guard.client.quiesced", quiesced)
    assert files.ask(NIGHTLY) == {"frozen": True}
    assert said == ["freeze files True", "snapshot", "thaw"]
    assert files.folder("files").snapshots[0].frozen
    with pytest.raises(Failure, match="stop it"):
        files.ask(BACK)


def test_a_snapshot_of_the_name_that_is_not_skeps(files: Bench) -> None:
    files.zfs.zfs_snapshot(f"{GUEST}@skep-nightly")
    for request in (NIGHTLY, RemoveSnapshot(guest="files", snapshot="nightly")):
        with pytest.raises(Failure, match="not taken by Skep") as caught:
            files.ask(request)
        assert caught.value.code == "conflict"
    assert files.folder("files").snapshots == ()


def test_the_seed_is_in_the_folder(files: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skep_helper.storage.seed._command", lambda target, source: [target])
    monkeypatch.setattr("skep_helper.storage.seed.run", lambda argv: Path(argv[0]).write_bytes(b"volume"))
    files.ask(WriteSeed(guest="files", user_data="u", meta_data="m", network_config="n"))
    assert files.folder("files").seed_digest == hashlib.sha256(b"u\0m\0n\0").hexdigest()


def test_what_is_newer_is_told_by_each_dataset_of_its_own() -> None:
    """The parts of a replica were received one after the other, so its snapshots have no common moment."""
    policy = Policy(pool=Path("/tank/skep"), dataset="tank/skep")
    top, disk = "tank/skep/guests/files", "tank/skep/guests/files/data"
    marks = {"skep:snapshot": "one", "skep:disks": "data"}
    found = [
        Entry(name=f"{top}@skep-one", kind="snapshot", txg=10, marks=marks),
        Entry(name=f"{top}@skep-two", kind="snapshot", txg=11, marks=marks),
        Entry(name=f"{disk}@skep-one", kind="snapshot", txg=20, marks=marks),
        Entry(name=f"{disk}@skep-two", kind="snapshot", txg=21, marks=marks),
    ]
    newer = snapshots.newer(policy, "files", "one", Tree({entry.name: entry for entry in found}))
    assert {entry.name for entry in newer} == {f"{top}@skep-two", f"{disk}@skep-two"}
