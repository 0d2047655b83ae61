"""Folders, disks and the trash on OpenZFS: what is done, in which words, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_zfs import Died
from skep_helper import zfs
from skep_helper.handlers import Failure
from skep_helper.vocabulary import (
    CreateGuestFolder,
    EmptyTrash,
    GrowDisk,
    Rejected,
    RemoveDisk,
    RemoveImage,
    TrashGuestFolder,
    UntrashGuestFolder,
)
from zfs_bench import KEY, MIB, Bench

TOP = "tank/skep"


def refused(work: Callable[..., object], *arguments: object) -> Failure:
    with pytest.raises(Failure) as caught:
        work(*arguments)
    return caught.value


def test_the_areas_are_made_once_with_what_is_inherited(bench: Bench) -> None:
    made = {call[-1]: call[2:-1] for call in bench.said("create")}
    assert set(made) == {TOP, *(f"{TOP}/{area}" for area in zfs.names.AREAS)}
    assert "volmode=dev" in made[f"{TOP}/guests"]
    assert "snapdev=visible" in made[f"{TOP}/images"]
    count = len(bench.zfs.calls)
    zfs.prepare(bench.policy)
    assert len(bench.zfs.calls) - count == 2, "it only looks"


def test_a_dataset_of_somebody_else_is_refused(bench: Bench) -> None:
    bench.zfs.nodes[f"{TOP}/guests"].local.pop("skep:area")
    assert refused(zfs.prepare, bench.policy).code == "conflict"
    bench.zfs.nodes[TOP].local["mountpoint"] = "/elsewhere"
    assert "zfs set mountpoint" in refused(zfs.prepare, bench.policy).message


def test_words_of_a_guest_with_a_disk(bench: Bench) -> None:
    bench.zfs.calls.clear()
    bench.guest("files", "root")
    host = zfs.reading.host_id()
    assert [call[1:] for call in bench.said("create")] == [
        ["create", "-o", "skep:guest=files", "-o", f"skep:host={host}", f"{TOP}/guests/files"],
        ["create", "-s", "-V", str(8 * MIB), "-o", "volblocksize=16384", "-o", "skep:disk=thin",
         f"{TOP}/guests/files/root"],
    ]  # fmt: skip


def test_a_blank_volume_has_the_blocks_that_were_asked_for(bench: Bench) -> None:
    bench.guest("files")
    bench.ask(bench.disk("files", "data", block=32 << 10))
    assert [call[call.index("-o") + 1] for call in bench.said("create") if "-V" in call] == ["volblocksize=32768"]
    for block in (1000, 2048, 1 << 20):
        with pytest.raises(Rejected, match="power of two"):
            bench.disk("files", "data", block=block)


def test_reading_is_one_command_whatever_there_is(bench: Bench) -> None:
    for name in ("a", "b", "c"):
        bench.guest(name, "root", "data")
    bench.zfs.calls.clear()
    assert len(bench.reading().folders) == 3
    assert [call[:2] for call in bench.zfs.calls] == [["zfs", "list"]]


def test_a_copy_that_names_another_host_may_not_run_here(bench: Bench) -> None:
    bench.guest("files")
    assert bench.folder("files").promoted_here
    bench.zfs.nodes[f"{TOP}/guests/files"].local["skep:host"] = "another"
    assert not bench.folder("files").promoted_here


def test_foreign_datasets_are_neither_read_nor_moved(bench: Bench) -> None:
    bench.guest("files", "root")
    bench.zfs.add(f"{TOP}/guests/theirs", "filesystem")
    bench.zfs.add(f"{TOP}/guests/files/backup", "volume", MIB, 16384)
    assert [folder.guest for folder in bench.reading().folders] == ["files"]
    assert [disk.disk for disk in bench.folder("files").disks] == ["root"]
    assert refused(bench.ask, CreateGuestFolder(guest="theirs")).code == "conflict"
    assert refused(bench.ask, bench.disk("files", "backup")).code == "exists"
    assert refused(bench.ask, RemoveDisk(guest="files", disk="backup", key=KEY)).code == "conflict"
    told = refused(bench.ask, TrashGuestFolder(guest="files", key=KEY))
    assert told.code == "conflict"
    assert "zfs rename tank/skep/guests/files/backup" in told.message


def test_foreign_snapshots_are_not_destroyed_with_a_guest(bench: Bench) -> None:
    bench.guest("files", "root")
    bench.zfs.zfs_snapshot(f"{TOP}/guests/files/root@daily")
    bench.ask(TrashGuestFolder(guest="files", key=KEY))
    told = refused(bench.ask, EmptyTrash(key=KEY))
    assert told.code == "conflict"
    assert f"zfs destroy {TOP}/trash/{KEY}/files/root@daily" in told.message
    bench.zfs.zfs_destroy(f"{TOP}/trash/{KEY}/files/root@daily")
    bench.ask(EmptyTrash(key=KEY))
    assert bench.reading().trash == ()


def test_busy_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.guest("files")
    bench.zfs.busy[f"{TOP}/guests/files"] = 2
    bench.ask(TrashGuestFolder(guest="files", key=KEY))
    assert len(bench.said("rename")) == 3
    monkeypatch.setattr("skep_helper.zfs.tool._PATIENCE", 0.0)
    bench.zfs.busy[f"{TOP}/trash/{KEY}/files"] = 99
    told = refused(bench.ask, UntrashGuestFolder(guest="files", key=KEY))
    assert told.code == "busy"
    assert "fuser" in told.message


def test_a_thin_disk_is_a_clone_and_a_full_one_a_copy(bench: Bench) -> None:
    bench.image()
    bench.guest("files")
    bench.zfs.calls.clear()
    bench.ask(bench.disk("files", "thin", image="debian", version="12", size=None))
    bench.ask(bench.disk("files", "large", image="debian", version="12"))
    bench.ask(bench.disk("files", "full", image="debian", version="12", edition="full"))
    origin, guest = f"{TOP}/images/debian:12@skep", f"{TOP}/guests/files"
    marks = ["-o", "skep:disk=thin", "-o", "skep:image=debian:12"]
    copied = ["-o", "skep:disk=full", "-o", "skep:image=debian:12"]
    assert [call[1:] for call in bench.zfs.calls if call[1] not in ("list", "mount")] == [
        ["clone", *marks, origin, f"{guest}/thin"],
        ["clone", *marks, origin, f"{guest}/large.new"],
        ["set", f"volsize={8 * MIB}", f"{guest}/large.new"],
        ["rename", f"{guest}/large.new", f"{guest}/large"],
        [origin, f"{guest}/full.new", *copied],
        ["set", f"volsize={8 * MIB}", f"{guest}/full.new"],
        ["set", "refreservation=auto", f"{guest}/full.new"],
        ["rename", f"{guest}/full.new", f"{guest}/full"],
    ]
    assert bench.reading().images[0].users == 2
    assert bench.node("files", "full").read_bytes().startswith(b"image")


def test_what_was_half_made_when_the_helper_died_is_swept(bench: Bench) -> None:
    bench.image()
    bench.guest("files")
    large = bench.disk("files", "large", image="debian", version="12")
    before = len(bench.zfs.calls)
    bench.ask(large)
    renamed = next(i for i, call in enumerate(bench.zfs.calls[before:], 1) if call[1] == "rename")
    bench.ask(RemoveDisk(guest="files", disk="large", key=KEY))
    bench.zfs.dies_at = len(bench.zfs.calls) + renamed
    with pytest.raises(Died):
        bench.ask(large)
    bench.zfs.dies_at = 0
    bench.zfs.zfs_clone("-o", "skep:disk=thin", f"{TOP}/images/debian:12@skep", f"{TOP}/guests/files/other.new")
    assert bench.folder("files").disks == ()
    zfs.recover(bench.policy)
    assert not [name for name in bench.zfs.nodes if name.endswith(".new")]
    bench.ask(large)


def test_a_copy_whose_maker_died_before_its_snapshot_went_is_made_anew(bench: Bench) -> None:
    """zfs receive leaves the image's snapshot on the copy, without the marks that it has on the image."""
    bench.image()
    bench.guest("files")
    copied = ("-o", "skep:disk=full", f"{TOP}/images/debian:12@skep", f"{TOP}/guests/files/own.new")
    bench.zfs.zfs_clone(*copied)
    bench.zfs.zfs_snapshot(f"{TOP}/guests/files/own.new@skep")
    bench.ask(bench.disk("files", "own", image="debian", version="12", edition="full"))
    assert not [name for name in bench.zfs.nodes if ".new" in name]


def test_a_guests_disk_is_cloned_and_outlives_its_source(bench: Bench) -> None:
    bench.image()
    bench.guest("one")
    bench.guest("two")
    bench.ask(bench.disk("one", "root", image="debian", version="12", size=None))
    bench.ask(bench.disk("two", "root", source_guest="one", size=None))
    assert bench.reading().images[0].users == 2
    assert bench.folder("two").disks[0].image == "debian:12"
    bench.ask(TrashGuestFolder(guest="one", key=KEY))
    bench.ask(EmptyTrash(key=KEY))
    assert len(bench.said("promote")) == 1
    assert [folder.guest for folder in bench.reading().folders] == ["two"]
    assert bench.reading().images[0].users == 1
    assert refused(bench.ask, RemoveImage(image="debian", version="12")).code == "conflict"
    bench.ask(TrashGuestFolder(guest="two", key=KEY))
    told = refused(bench.ask, RemoveImage(image="debian", version="12"))
    assert "two/root (in the trash)" in told.message
    bench.ask(EmptyTrash(key=KEY))
    bench.ask(RemoveImage(image="debian", version="12"))
    assert set(bench.zfs.nodes) == {"tank", TOP, *(f"{TOP}/{area}" for area in zfs.names.AREAS)}


def test_somebody_elses_clone_is_not_promoted(bench: Bench) -> None:
    bench.guest("one", "root")
    bench.zfs.zfs_snapshot("-o", "skep:snapshot=x", f"{TOP}/guests/one/root@skep-x")
    bench.zfs.zfs_clone(f"{TOP}/guests/one/root@skep-x", "tank/theirs")
    bench.ask(TrashGuestFolder(guest="one", key=KEY))
    told = refused(bench.ask, EmptyTrash(key=KEY))
    assert told.code == "conflict"
    assert "zfs promote tank/theirs" in told.message


def test_growing(bench: Bench) -> None:
    bench.guest("files", "root")
    bench.ask(bench.disk("files", "full", edition="full"))
    grow = GrowDisk(guest="files", disk="full", size=16 * MIB - 1)
    bench.ask(grow)
    bench.ask(grow)
    assert [call[2:] for call in bench.said("set")] == [
        [f"volsize={16 * MIB}", f"{TOP}/guests/files/full"],
        ["refreservation=auto", f"{TOP}/guests/files/full"],
    ]


def test_no_room(bench: Bench) -> None:
    bench.image()
    bench.guest("files")
    bench.zfs.available = 4 * MIB
    assert refused(bench.ask, bench.disk("files", "full", edition="full")).code == "full"
    full = bench.disk("files", "full", edition="full", image="debian", version="12")
    assert refused(bench.ask, full).code == "full"
    assert bench.folder("files").disks == ()


def test_a_name_too_long_for_a_dataset_is_refused_before(bench: Bench) -> None:
    with pytest.raises(Rejected, match="choose shorter names"):
        zfs.names.dataset(bench.policy, "trash", "a" * 64, "b" * 63, "c" * 63, "d" * 63)


@pytest.mark.parametrize("format", ["qcow2", "raw"])
def test_other_formats_are_refused(bench: Bench, format: str) -> None:
    bench.guest("files")
    assert refused(bench.ask, bench.disk("files", "root", format=format)).code == "unsupported"
