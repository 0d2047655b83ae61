"""Snapshots and rollbacks of stopped guests with the real qemu-img; what is asked of running ones; the seed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from skep_helper.handlers import Failure
from skep_helper.linux import storage
from skep_helper.linux.storage import snapshots
from skep_helper.storage import qcow2
from skep_helper.storage import tool as storage_tool
from skep_helper.vocabulary import (
    CompareSnapshot,
    CreateDisk,
    GrowDisk,
    Rejected,
    RemoveDisk,
    RemoveSnapshot,
    RollBackGuest,
    SnapshotGuest,
    WriteSeed,
)
from storage_lab import KEY, MIB, Lab, holds, pattern, tool

pytestmark = pytest.mark.real
NIGHTLY = SnapshotGuest(guest="files", snapshot="nightly")
BACK = RollBackGuest(guest="files", snapshot="nightly")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A guest with two disks full of ones, and UEFI variables."""
    lab = Lab(tmp_path)
    disks = [CreateDisk(guest="files", disk=name, size=8 * MIB) for name in ("data", "root")]
    lab.guest("files", *disks)
    change(lab, 1)
    return lab


def change(lab: Lab, byte: int) -> None:
    for name in ("data", "root"):
        pattern(lab.disk("files", name), byte, 0, MIB)
    (lab.pool / "guests" / "files" / "uefi-vars.fd").write_bytes(bytes([byte]) * 1000)


def state(lab: Lab) -> list[int]:
    """The byte that each disk and the UEFI variables hold; -1 for none."""
    found = [
        next((byte for byte in range(5) if holds(lab.disk("files", name), byte, 0, MIB)), -1)
        for name in ("data", "root")
    ]
    path = lab.pool / "guests" / "files" / "uefi-vars.fd"
    return [*found, path.read_bytes()[0] if path.exists() else -1]


def tables(lab: Lab) -> list[list[str]]:
    found = []
    for name in ("data", "root"):
        descriptor = os.open(lab.disk("files", name), os.O_RDONLY)
        found.append([entry.name for entry in qcow2.read_snapshots(descriptor)])
        os.close(descriptor)
    return found


def test_what_changed_since_a_snapshot_is_read_from_the_tables(lab: Lab) -> None:
    compare = CompareSnapshot(guest="files", snapshot="nightly")
    with pytest.raises(Failure, match="no snapshot nightly"):
        lab.ask(compare)
    lab.ask(NIGHTLY)
    assert [(one.disk, one.written, one.grown) for one in lab.ask(compare).disks] == [("data", 0, 0), ("root", 0, 0)]
    pattern(lab.disk("files", "data"), 2, 0, MIB // 2)
    pattern(lab.disk("files", "data"), 3, 7 * MIB, MIB)
    lab.ask(GrowDisk(guest="files", disk="root", size=16 * MIB))
    lab.ask(SnapshotGuest(guest="files", snapshot="weekly"))
    data, root = lab.ask(compare).disks
    assert (data.written, data.grown) == (MIB // 2 + MIB, 0)
    assert (root.written, root.grown) == (0, 8 * MIB)
    assert lab.ask(compare).newer == ()
    assert [one.written for one in lab.ask(CompareSnapshot(guest="files", snapshot="weekly")).disks] == [0, 0]
    lab.ask(BACK)
    assert [one.written for one in lab.ask(compare).disks] == [0, 0]


def test_back_to_a_snapshot_and_forth(lab: Lab) -> None:
    assert lab.ask(NIGHTLY) == {"frozen": False}
    change(lab, 2)
    lab.ask(SnapshotGuest(guest="files", snapshot="weekly"))
    change(lab, 3)
    lab.ask(BACK)
    assert state(lab) == [1, 1, 1]
    lab.ask(BACK)
    lab.ask(RollBackGuest(guest="files", snapshot="weekly"))
    assert state(lab) == [2, 2, 2]
    found = {item.snapshot: item for item in lab.folder("files").snapshots}
    assert set(found) == {"nightly", "weekly"}
    assert found["nightly"].disks == ("data", "root")
    assert 0 < found["nightly"].created <= found["weekly"].created
    assert not (lab.pool / "guests" / "files" / "rollback.json").exists()


def test_a_snapshot_is_taken_once(lab: Lab) -> None:
    lab.ask(NIGHTLY)
    change(lab, 2)
    lab.ask(NIGHTLY)
    lab.ask(BACK)
    assert state(lab) == [1, 1, 1]
    assert tables(lab) == [["nightly"]] * 2


def test_a_snapshot_whose_name_is_a_number_is_not_taken_for_another(lab: Lab) -> None:
    lab.ask(SnapshotGuest(guest="files", snapshot="2"))
    change(lab, 2)
    lab.ask(SnapshotGuest(guest="files", snapshot="1"))
    change(lab, 3)
    lab.ask(RollBackGuest(guest="files", snapshot="2"))
    assert state(lab) == [1, 1, 1]
    lab.ask(RemoveSnapshot(guest="files", snapshot="1"))
    assert tables(lab) == [["2"]] * 2


def test_variables_that_were_not_there_are_not_there_again(lab: Lab) -> None:
    (lab.pool / "guests" / "files" / "uefi-vars.fd").unlink()
    lab.ask(NIGHTLY)
    change(lab, 2)
    lab.ask(BACK)
    assert state(lab) == [1, 1, -1]


def test_a_disk_that_grew_shrinks_back_and_grows_again(lab: Lab) -> None:
    lab.ask(NIGHTLY)
    lab.ask(GrowDisk(guest="files", disk="data", size=16 * MIB))
    lab.ask(BACK)
    assert {disk.disk: disk.size for disk in lab.folder("files").disks}["data"] == 8 * MIB
    assert state(lab) == [1, 1, 1]


def test_removing(lab: Lab) -> None:
    lab.ask(NIGHTLY)
    for _ in range(2):
        lab.ask(RemoveSnapshot(guest="files", snapshot="nightly"))
    assert tables(lab) == [[], []]
    assert lab.folder("files").snapshots == ()
    assert os.listdir(lab.pool / "guests" / "files" / "snapshots") == []
    with pytest.raises(Failure, match="no snapshot nightly") as caught:
        lab.ask(BACK)
    assert caught.value.code == "missing"


def test_raw_disks_have_no_snapshots(lab: Lab) -> None:
    lab.ask(CreateDisk(guest="files", disk="swap", size=8 * MIB, format="raw"))
    with pytest.raises(Failure, match="swap of guest files is raw") as caught:
        lab.ask(NIGHTLY)
    assert caught.value.code == "unsupported"
    assert tables(lab) == [[], []]


def test_all_disks_go_back_or_none(lab: Lab) -> None:
    lab.ask(NIGHTLY)
    change(lab, 2)
    lab.ask(RemoveDisk(guest="files", disk="root", key=KEY))
    with pytest.raises(Failure, match="needs disk root") as caught:
        lab.ask(BACK)
    assert caught.value.code == "missing"
    lab.ask(CreateDisk(guest="files", disk="root", size=8 * MIB))
    with pytest.raises(Failure, match="made anew"):
        lab.ask(BACK)
    assert state(lab) == [2, 0, 2]


class Crash(BaseException):
    """The helper dies here."""


@pytest.fixture
def dies_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Let the helper die before its Nth qemu-img."""

    def arm(number: int) -> list[str]:
        real, seen = storage_tool.qemu_img, []

        def counted(policy: object, arguments: list[str], *more: object) -> None:
            seen.append(arguments[0])
            if len(seen) == number:
                raise Crash
            real(policy, arguments, *more)  # type: ignore[arg-type]

        monkeypatch.setattr(storage_tool, "qemu_img", counted)
        return seen

    return arm


@pytest.mark.parametrize("number", [1, 2])
def test_a_snapshot_that_was_cut_off_is_taken_anew(
    lab: Lab, dies_at: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    dies_at(number)
    with pytest.raises(Crash):
        lab.ask(NIGHTLY)
    monkeypatch.undo()
    assert lab.folder("files").snapshots == ()
    # The guest ran on: what the first disk holds of that snapshot is not of this instant.
    change(lab, 2)
    lab.ask(NIGHTLY)
    assert tables(lab) == [["nightly"]] * 2
    change(lab, 3)
    lab.ask(BACK)
    assert state(lab) == [2, 2, 2]


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("how", ["start", "repeat"])
def test_a_rollback_that_was_cut_off_is_finished(
    lab: Lab, dies_at: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch, number: int, how: str
) -> None:
    lab.ask(NIGHTLY)
    change(lab, 2)
    dies_at(number)
    with pytest.raises(Crash):
        lab.ask(BACK)
    monkeypatch.undo()
    for request in (NIGHTLY, GrowDisk(guest="files", disk="data", size=16 * MIB)):
        with pytest.raises(Failure, match="rollback was interrupted"):
            lab.ask(request)
    if how == "start":
        storage.recover(lab.policy)
    else:
        lab.ask(BACK)
    assert state(lab) == [1, 1, 1]
    assert not (lab.pool / "guests" / "files" / "rollback.json").exists()
    lab.ask(NIGHTLY)


def test_recovery_that_fails_is_told_and_ends_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lab.guest("other", CreateDisk(guest="other", disk="root", size=8 * MIB))
    lab.ask(SnapshotGuest(guest="other", snapshot="nightly"))
    for guest in ("files", "other"):
        (lab.pool / "guests" / guest / "rollback.json").write_text('{"snapshot": "nightly"}')
    storage.recover(lab.policy)
    assert "unfinished-rollback guest=files" in capfd.readouterr().err
    assert not (lab.pool / "guests" / "other" / "rollback.json").exists()


def test_running_guests_are_asked_through_their_guard(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def take(policy: object, guest: str, snapshot: str, quiesce: bool) -> bool:
        asked.append(("snapshot", guest, snapshot, quiesce))
        for name in ("data", "root"):
            tool("qemu-img", "snapshot", "-c", snapshot, lab.disk(guest, name))
        return True

    def remove(policy: object, guest: str, snapshot: str) -> None:
        asked.append(("remove", guest, snapshot))
        for name in ("data", "root"):
            tool("qemu-img", "snapshot", "-d", snapshot, lab.disk(guest, name))

    attached = {"data": ["disk-0", "qcow2"], "root": ["disk-1", "qcow2"]}
    monkeypatch.setattr("skep_helper.guard.client.is_running", lambda policy, guest: True)
    monkeypatch.setattr("skep_helper.guard.client.read", lambda policy, guest: {"disks": attached})
    monkeypatch.setattr("skep_helper.guard.client.snapshot", take)
    monkeypatch.setattr("skep_helper.guard.client.remove_snapshot", remove)
    for name in ("data", "root"):
        tool("qemu-img", "snapshot", "-c", "nightly", lab.disk("files", name))
    assert lab.ask(NIGHTLY) == {"frozen": True}
    assert lab.ask(NIGHTLY) == {"frozen": True}
    (found,) = lab.folder("files").snapshots
    assert found.frozen
    with pytest.raises(Failure, match="stop it") as caught:
        lab.ask(BACK)
    assert caught.value.code == "busy"
    lab.ask(RemoveSnapshot(guest="files", snapshot="nightly"))
    lab.ask(RemoveSnapshot(guest="files", snapshot="nightly"))
    # What was left in the disks by an attempt that was cut off went first.
    assert asked == [("remove", "files", "nightly"), ("snapshot", "files", "nightly", True),
                     ("remove", "files", "nightly")]  # fmt: skip
    # A disk that was made since the start is no less part of the snapshot.
    del attached["root"]
    tool("qemu-img", "snapshot", "-c", "nightly", lab.disk("files", "root"))
    monkeypatch.setattr("skep_helper.guard.client.snapshot", lambda *told: asked.append(told[1:]) or True)
    assert lab.ask(NIGHTLY) == {"frozen": True}
    assert "nightly" in tool("qemu-img", "snapshot", "-l", lab.disk("files", "root"))
    lab.ask(RemoveSnapshot(guest="files", snapshot="nightly"))
    assert "nightly" not in tool("qemu-img", "snapshot", "-l", lab.disk("files", "root"))
    assert asked[3:] == [("files", "nightly", True)]
    monkeypatch.undo()
    assert snapshots.guard.is_running(lab.policy, "files") is False


SEED = WriteSeed(
    guest="files", user_data="#cloud-config\npassword: s3cret ü\n", meta_data="instance-id: 1\n", network_config=""
)


def test_the_seed_is_a_volume_that_cloud_init_finds(lab: Lab, tmp_path: Path) -> None:
    lab.ask(SEED)
    seed = lab.pool / "guests" / "files" / "seed.iso"
    assert (seed.stat().st_uid, seed.stat().st_mode & 0o777) == (0, 0o600)
    digest = hashlib.sha256("#cloud-config\npassword: s3cret ü\n\0instance-id: 1\n\0\0".encode()).hexdigest()
    assert lab.folder("files").seed_digest == digest
    assert b"CIDATA" in seed.read_bytes()[16 * 2048 : 16 * 2048 + 100]
    tool("xorriso", "-osirrox", "on", "-indev", seed, "-extract", "/", tmp_path / "out")
    shown = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert shown == {"user-data": SEED.user_data, "meta-data": SEED.meta_data, "network-config": ""}
    joliet = tool("xorriso", "-indev", seed, "-pvd_info", "-toc", "-report_el_torito", "plain")
    assert "CIDATA" in joliet
    assert os.listdir(lab.policy.run) == []


def test_the_seed_is_rendered_again_only_when_it_changes(lab: Lab) -> None:
    lab.ask(SEED)
    seed = lab.pool / "guests" / "files" / "seed.iso"
    before = seed.stat().st_ino, seed.stat().st_mtime_ns
    lab.ask(SEED)
    assert (seed.stat().st_ino, seed.stat().st_mtime_ns) == before
    lab.ask(WriteSeed(guest="files", user_data="other", meta_data="", network_config=""))
    assert lab.folder("files").seed_digest == hashlib.sha256(b"other\0\0\0").hexdigest()


def test_a_seed_without_its_record_counts_as_none(lab: Lab) -> None:
    lab.ask(SEED)
    (lab.pool / "guests" / "files" / "seed.json").unlink()
    assert lab.folder("files").seed_digest == ""
    lab.ask(SEED)
    assert lab.folder("files").seed_digest


def test_text_that_is_no_unicode_is_rejected(lab: Lab) -> None:
    from skep_helper import codec

    with pytest.raises(Rejected, match="Unicode"):
        codec.decode(
            codec.loads(
                b'{"type":"WriteSeed","guest":"files","user_data":"\\ud800","meta_data":"","network_config":""}'
            )
        )
