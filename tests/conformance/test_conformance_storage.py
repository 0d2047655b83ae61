"""The contract of the storage verbs: create, repeat, undo, refuse."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from conformance_lab import GUEST, IMAGE_SIZE, KEYS, MIB, PREFIX, publish, write_image
from planning import observe
from skep_helper import vocabulary as v
from skepd.host import Host, HostError

KEY, OTHER = KEYS


def disk(**fields: Any) -> v.CreateDisk:
    return v.CreateDisk(**{"guest": GUEST, "disk": "data", "size": 8 * MIB, **fields})


def disks(host: Host) -> dict[str, v.DiskReading]:
    return {reading.disk: reading for reading in observe(host).folder_of[GUEST].disks}


def refused(host: Host, *requests: Any) -> str:
    """The code that the last of these requests is refused with; those before it must be done."""
    with pytest.raises(HostError) as caught:
        host.perform(requests)
    assert caught.value.index == len(requests) - 1
    assert caught.value.request == type(requests[-1]).__name__
    return caught.value.code


@pytest.fixture
def folder(host: Host) -> Host:
    host.perform([v.CreateGuestFolder(guest=GUEST)])
    return host


def test_a_folder(host: Host) -> None:
    assert GUEST not in observe(host).folder_of
    create = v.CreateGuestFolder(guest=GUEST)
    host.perform([create, create])
    reading = observe(host).folder_of[GUEST]
    assert (reading.disks, reading.snapshots, reading.seed_digest) == ((), (), "")
    assert reading.promoted_here


def test_the_trash_keeps_and_gives_back(folder: Host) -> None:
    folder.perform([disk()])
    trash, untrash = v.TrashGuestFolder(guest=GUEST, key=KEY), v.UntrashGuestFolder(guest=GUEST, key=KEY)
    folder.perform([trash, trash])
    assert GUEST not in observe(folder).folder_of
    assert KEY in observe(folder).storage.trash
    folder.perform([untrash, untrash])
    assert disks(folder)["data"].size == 8 * MIB
    assert KEY not in observe(folder).storage.trash


def test_the_trash_is_emptied_for_good(folder: Host) -> None:
    empty = v.EmptyTrash(key=KEY)
    folder.perform([v.TrashGuestFolder(guest=GUEST, key=KEY), empty, empty])
    assert KEY not in observe(folder).storage.trash
    assert refused(folder, v.UntrashGuestFolder(guest=GUEST, key=KEY)) == "missing"


def test_the_trash_overwrites_nothing(folder: Host) -> None:
    folder.perform([v.TrashGuestFolder(guest=GUEST, key=KEY), v.CreateGuestFolder(guest=GUEST)])
    assert refused(folder, v.UntrashGuestFolder(guest=GUEST, key=KEY)) == "exists"
    assert refused(folder, v.TrashGuestFolder(guest=GUEST, key=KEY)) == "exists"
    folder.perform([v.TrashGuestFolder(guest=GUEST, key=OTHER)])


@pytest.mark.parametrize("disk_format", ["qcow2", "raw"])
@pytest.mark.parametrize("edition", ["thin", "full"])
def test_a_blank_disk(folder: Host, disk_format: str, edition: str) -> None:
    request = disk(format=disk_format, edition=edition)
    folder.perform([request, request])
    reading = disks(folder)["data"]
    assert (reading.size, reading.format, reading.edition, reading.image) == (8 * MIB, disk_format, edition, "")


def test_another_disk_of_the_same_name_is_refused(folder: Host) -> None:
    folder.perform([disk()])
    assert refused(folder, disk(size=9 * MIB)) == "exists"
    assert refused(folder, disk(edition="full")) == "exists"
    assert disks(folder)["data"].size == 8 * MIB


def test_a_disk_needs_a_folder_and_a_size(host: Host) -> None:
    assert refused(host, disk()) == "missing"
    assert refused(host, v.CreateGuestFolder(guest=GUEST), disk(size=None)) == "rejected"


def test_a_disk_grows_and_never_shrinks(folder: Host) -> None:
    grow = v.GrowDisk(guest=GUEST, disk="data", size=16 * MIB)
    folder.perform([disk(), grow, grow])
    assert disks(folder)["data"].size == 16 * MIB
    assert refused(folder, v.GrowDisk(guest=GUEST, disk="data", size=8 * MIB)) == "conflict"
    assert refused(folder, v.GrowDisk(guest=GUEST, disk="none", size=8 * MIB)) == "missing"


def test_a_disk_goes_and_comes_back(folder: Host) -> None:
    remove = v.RemoveDisk(guest=GUEST, disk="data", key=KEY)
    restore = v.RemoveDisk(guest=GUEST, disk="data", key=KEY, undo=True)
    folder.perform([disk(), remove, remove])
    assert disks(folder) == {}
    folder.perform([restore, restore])
    assert disks(folder)["data"].size == 8 * MIB
    assert KEY not in observe(folder).storage.trash
    folder.perform([remove, v.EmptyTrash(key=KEY)])
    assert refused(folder, restore) == "missing"


@pytest.mark.parametrize("edition", ["thin", "full"])
def test_a_disk_from_an_image(folder: Host, image: str, edition: str) -> None:
    same = disk(image=image, version="1", size=None, edition=edition)
    larger = disk(disk="more", image=image, version="1", size=2 * IMAGE_SIZE, edition=edition)
    folder.perform([same, same, larger, larger])
    found = disks(folder)
    assert {name: reading.size for name, reading in found.items()} == {"data": IMAGE_SIZE, "more": 2 * IMAGE_SIZE}
    assert {reading.image for reading in found.values()} == {f"{image}:1"}
    assert observe(folder).image_of[image, "1"].users == (2 if edition == "thin" else 0)


def test_what_a_disk_cannot_be_made_from(folder: Host, image: str) -> None:
    assert refused(folder, disk(image=image, version="1", size=IMAGE_SIZE - MIB)) == "rejected"
    assert refused(folder, disk(image=image, version="2")) == "missing"
    assert refused(folder, disk(source_guest=f"{PREFIX}-none")) == "missing"
    assert disks(folder) == {}


def test_a_disk_cloned_from_a_guest(folder: Host) -> None:
    copy = f"{PREFIX}-copy"
    request = disk(guest=copy, source_guest=GUEST, size=None)
    folder.perform([disk(), v.CreateGuestFolder(guest=copy), request, request])
    assert observe(folder).folder_of[copy].disks[0].size == 8 * MIB


def test_an_image_is_there_once_it_is_published(host: Host) -> None:
    name = f"{PREFIX}-image"
    write_image(host, name)
    assert (name, "1") not in observe(host).image_of
    write_image(host, name)
    publish(host, name)
    reading = observe(host).image_of[name, "1"]
    assert (reading.format, reading.size, reading.users) == ("raw", IMAGE_SIZE, 0)
    assert reading.digest == hashlib.sha256(bytes(IMAGE_SIZE)).hexdigest()
    again = v.PublishImage(image=name, version="1", format="raw", digest=reading.digest)
    host.perform([again])
    assert refused(host, v.PublishImage(image=name, version="1", format="raw", digest="0" * 64)) == "exists"
    with pytest.raises(HostError) as caught:
        write_image(host, name)
    assert caught.value.code == "exists"


def test_an_abandoned_image(host: Host) -> None:
    name = f"{PREFIX}-image"
    write_image(host, name)
    abandon = v.AbandonImage(image=name, version="1")
    host.perform([abandon, abandon])
    assert refused(host, v.PublishImage(image=name, version="1", format="raw", digest="0" * 64)) == "missing"


def test_an_image_that_a_disk_is_linked_to_stays(folder: Host, image: str) -> None:
    remove = v.RemoveImage(image=image, version="1")
    folder.perform([disk(image=image, version="1")])
    assert refused(folder, remove) == "conflict"
    trash = v.TrashGuestFolder(guest=GUEST, key=KEY)
    assert refused(folder, trash, remove) == "conflict"
    folder.perform([v.EmptyTrash(key=KEY), remove, remove])
    assert (image, "1") not in observe(folder).image_of


def test_a_seed(folder: Host) -> None:
    seed = v.WriteSeed(guest=GUEST, user_data="u", meta_data="m", network_config="n")
    folder.perform([seed, seed])
    assert observe(folder).folder_of[GUEST].seed_digest == hashlib.sha256(b"u\0m\0n\0").hexdigest()
    folder.perform([v.WriteSeed(guest=GUEST, user_data="u", meta_data="m", network_config="x")])
    assert observe(folder).folder_of[GUEST].seed_digest == hashlib.sha256(b"u\0m\0x\0").hexdigest()
    assert (
        refused(folder, v.WriteSeed(guest=f"{PREFIX}-none", user_data="", meta_data="", network_config="")) == "missing"
    )


def test_snapshots(folder: Host) -> None:
    snapshot = v.SnapshotGuest(guest=GUEST, snapshot="one")
    answers = folder.perform([disk(), snapshot, snapshot])
    assert answers[1]["frozen"] is False
    (reading,) = observe(folder).folder_of[GUEST].snapshots
    assert (reading.snapshot, reading.disks, reading.frozen) == ("one", ("data",), False)
    back = v.RollBackGuest(guest=GUEST, snapshot="one")
    folder.perform([back, back])
    remove = v.RemoveSnapshot(guest=GUEST, snapshot="one")
    folder.perform([remove, remove])
    assert observe(folder).folder_of[GUEST].snapshots == ()
    assert refused(folder, back) == "missing"


def test_requests_stop_at_the_first_that_fails(folder: Host) -> None:
    after = disk(disk="after")
    with pytest.raises(HostError) as caught:
        folder.perform([disk(), v.GrowDisk(guest=GUEST, disk="none", size=8 * MIB), after])
    assert (caught.value.index, caught.value.request) == (1, "GrowDisk")
    assert set(disks(folder)) == {"data"}
