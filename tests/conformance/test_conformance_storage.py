"""The contract of the storage verbs: create, repeat, undo, refuse."""

from __future__ import annotations

import hashlib
from typing import Any

from conformance_lab import (
    GUEST,
    IMAGE_SIZE,
    KEYS,
    MIB,
    PREFIX,
    disk_format,
    image,
    lacks,
    publish,
    refusal,
    refused,
    variants,
    write_image,
)
from planning import observe
from skep_helper import vocabulary as v
from skepd.host import Host

KEY, OTHER = KEYS


def disk(host: Host, **fields: Any) -> v.CreateDisk:
    """Of the kind that this host has."""
    return v.CreateDisk(**{"guest": GUEST, "disk": "data", "size": 8 * MIB, "format": disk_format(host), **fields})


def disks(host: Host) -> dict[str, v.DiskReading]:
    return {reading.disk: reading for reading in observe(host).folder_of[GUEST].disks}


def make_folder(host: Host) -> None:
    host.perform([v.CreateGuestFolder(guest=GUEST)])


def test_a_folder(host: Host) -> None:
    assert GUEST not in observe(host).folder_of
    create = v.CreateGuestFolder(guest=GUEST)
    assert host.perform([create, create]) == ({"made": True}, {"made": False})
    reading = observe(host).folder_of[GUEST]
    assert (reading.disks, reading.snapshots, reading.seed_digest) == ((), (), "")
    assert reading.promoted_here


def test_the_trash_keeps_and_gives_back(host: Host) -> None:
    make_folder(host)
    host.perform([disk(host)])
    trash, untrash = v.TrashGuestFolder(guest=GUEST, key=KEY), v.UntrashGuestFolder(guest=GUEST, key=KEY)
    host.perform([trash, trash])
    assert GUEST not in observe(host).folder_of
    assert KEY in observe(host).storage.trash
    host.perform([untrash, untrash])
    assert disks(host)["data"].size == 8 * MIB
    assert KEY not in observe(host).storage.trash


def test_the_trash_is_emptied_for_good(host: Host) -> None:
    make_folder(host)
    empty = v.EmptyTrash(key=KEY)
    host.perform([v.TrashGuestFolder(guest=GUEST, key=KEY), empty, empty])
    assert KEY not in observe(host).storage.trash
    assert refused(host, v.UntrashGuestFolder(guest=GUEST, key=KEY)) == "missing"


def test_the_trash_overwrites_nothing(host: Host) -> None:
    make_folder(host)
    host.perform([v.TrashGuestFolder(guest=GUEST, key=KEY), v.CreateGuestFolder(guest=GUEST)])
    assert refused(host, v.UntrashGuestFolder(guest=GUEST, key=KEY)) == "exists"
    assert refused(host, v.TrashGuestFolder(guest=GUEST, key=KEY)) == "exists"
    host.perform([v.TrashGuestFolder(guest=GUEST, key=OTHER)])


@variants(kind=("qcow2", "raw", "zvol"), edition=("thin", "full"))
def test_a_blank_disk(host: Host, kind: str, edition: str) -> None:
    make_folder(host)
    request = disk(host, format=kind, edition=edition)
    if lacks(host, "zfs" if kind == "zvol" else "files"):
        assert refused(host, request) == "unsupported"
        return
    host.perform([request, request])
    reading = disks(host)["data"]
    assert (reading.size, reading.format, reading.edition, reading.image) == (8 * MIB, kind, edition, "")


def test_another_disk_of_the_same_name_is_refused(host: Host) -> None:
    make_folder(host)
    host.perform([disk(host)])
    assert refused(host, disk(host, size=9 * MIB)) == "exists"
    assert refused(host, disk(host, edition="full")) == "exists"
    assert disks(host)["data"].size == 8 * MIB


def test_a_disk_needs_a_folder_and_a_size(host: Host) -> None:
    assert refused(host, disk(host)) == "missing"
    assert refused(host, v.CreateGuestFolder(guest=GUEST), disk(host, size=None)) == "rejected"


def test_a_disk_grows_and_never_shrinks(host: Host) -> None:
    make_folder(host)
    grow = v.GrowDisk(guest=GUEST, disk="data", size=16 * MIB)
    host.perform([disk(host), grow, grow])
    assert disks(host)["data"].size == 16 * MIB
    assert refused(host, v.GrowDisk(guest=GUEST, disk="data", size=8 * MIB)) == "conflict"
    assert refused(host, v.GrowDisk(guest=GUEST, disk="none", size=8 * MIB)) == "missing"


def test_a_disk_goes_and_comes_back(host: Host) -> None:
    make_folder(host)
    remove = v.RemoveDisk(guest=GUEST, disk="data", key=KEY)
    restore = v.RemoveDisk(guest=GUEST, disk="data", key=KEY, undo=True)
    host.perform([disk(host), remove, remove])
    assert disks(host) == {}
    host.perform([restore, restore])
    assert disks(host)["data"].size == 8 * MIB
    assert KEY not in observe(host).storage.trash
    host.perform([remove, v.EmptyTrash(key=KEY)])
    assert refused(host, restore) == "missing"


@variants(edition=("thin", "full"))
def test_a_disk_from_an_image(host: Host, edition: str) -> None:
    make_folder(host)
    name = image(host)
    same = disk(host, image=name, version="1", size=None, edition=edition)
    larger = disk(host, disk="more", image=name, version="1", size=2 * IMAGE_SIZE, edition=edition)
    host.perform([same, same, larger, larger])
    found = disks(host)
    assert {name: reading.size for name, reading in found.items()} == {"data": IMAGE_SIZE, "more": 2 * IMAGE_SIZE}
    assert {reading.image for reading in found.values()} == {f"{name}:1"}
    assert observe(host).image_of[name, "1"].users == (2 if edition == "thin" else 0)


def test_what_a_disk_cannot_be_made_from(host: Host) -> None:
    make_folder(host)
    name = image(host)
    assert refused(host, disk(host, image=name, version="1", size=IMAGE_SIZE - MIB)) == "rejected"
    assert refused(host, disk(host, image=name, version="2")) == "missing"
    assert refused(host, disk(host, source_guest=f"{PREFIX}-none")) == "missing"
    assert disks(host) == {}


def test_a_disk_cloned_from_a_guest(host: Host) -> None:
    make_folder(host)
    copy = f"{PREFIX}-copy"
    request = disk(host, guest=copy, source_guest=GUEST, size=None)
    host.perform([disk(host), v.CreateGuestFolder(guest=copy), request, request])
    assert observe(host).folder_of[copy].disks[0].size == 8 * MIB


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
    assert refusal(write_image, host, name).code == "exists"


def test_an_abandoned_image(host: Host) -> None:
    name = f"{PREFIX}-image"
    write_image(host, name)
    abandon = v.AbandonImage(image=name, version="1")
    host.perform([abandon, abandon])
    assert refused(host, v.PublishImage(image=name, version="1", format="raw", digest="0" * 64)) == "missing"


def test_an_image_that_a_disk_is_linked_to_stays(host: Host) -> None:
    make_folder(host)
    name = image(host)
    remove = v.RemoveImage(image=name, version="1")
    host.perform([disk(host, image=name, version="1")])
    assert refused(host, remove) == "conflict"
    trash = v.TrashGuestFolder(guest=GUEST, key=KEY)
    assert refused(host, trash, remove) == "conflict"
    host.perform([v.EmptyTrash(key=KEY), remove, remove])
    assert (name, "1") not in observe(host).image_of


def test_a_seed(host: Host) -> None:
    make_folder(host)
    seed = v.WriteSeed(guest=GUEST, user_data="u", meta_data="m", network_config="n")
    host.perform([seed, seed])
    assert observe(host).folder_of[GUEST].seed_digest == hashlib.sha256(b"u\0m\0n\0").hexdigest()
    host.perform([v.WriteSeed(guest=GUEST, user_data="u", meta_data="m", network_config="x")])
    assert observe(host).folder_of[GUEST].seed_digest == hashlib.sha256(b"u\0m\0x\0").hexdigest()
    assert (
        refused(host, v.WriteSeed(guest=f"{PREFIX}-none", user_data="", meta_data="", network_config="")) == "missing"
    )


def test_snapshots(host: Host) -> None:
    make_folder(host)
    snapshot = v.SnapshotGuest(guest=GUEST, snapshot="one")
    answers = host.perform([disk(host), snapshot, snapshot])
    assert answers[1]["frozen"] is False
    (reading,) = observe(host).folder_of[GUEST].snapshots
    assert (reading.snapshot, reading.disks, reading.frozen) == ("one", ("data",), False)
    (changes,) = host.perform([v.CompareSnapshot(guest=GUEST, snapshot="one")])
    assert changes == v.ChangesReading(disks=(v.DiskChanges(disk="data", written=0),))
    assert refused(host, v.CompareSnapshot(guest=GUEST, snapshot="two")) == "missing"
    back = v.RollBackGuest(guest=GUEST, snapshot="one")
    host.perform([back, back])
    remove = v.RemoveSnapshot(guest=GUEST, snapshot="one")
    host.perform([remove, remove])
    assert observe(host).folder_of[GUEST].snapshots == ()
    assert refused(host, back) == "missing"


def test_requests_stop_at_the_first_that_fails(host: Host) -> None:
    make_folder(host)
    after = disk(host, disk="after")
    error = refusal(host.perform, [disk(host), v.GrowDisk(guest=GUEST, disk="none", size=8 * MIB), after])
    assert (error.index, error.request) == (1, "GrowDisk")
    assert set(disks(host)) == {"data"}
