"""Disks and media of running guests, with real QEMU and the storage handlers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from guests_lab import Lab, lab
from skep_helper.guard import client
from skep_helper.handlers import Context, Failure
from skep_helper.linux import storage
from skep_helper.storage import qcow2
from skep_helper.vocabulary import Rejected
from skep_helper.vocabulary.guest import DiskDevice, MediaDevice, StopGuest
from skep_helper.vocabulary.storage import (
    CreateDisk,
    CreateGuestFolder,
    GrowDisk,
    OpenImageWriter,
    PublishImage,
    RollBackGuest,
    SnapshotGuest,
    WriteSeed,
)

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
MIB = 1 << 20
DISKS = (DiskDevice(disk="a", slot=0), DiskDevice(disk="b", slot=1))
MEDIUM = MediaDevice(image="cd", version="1", slot=2, until_reboot=True)


@pytest.fixture(scope="module")
def site() -> Iterator[Lab]:
    with lab() as made:
        made.handlers.update(storage.HANDLERS)
        publish(made, "base", "raw")
        publish(made, "cd", "iso")
        made.do(CreateGuestFolder(guest="two"))
        made.do(CreateDisk(guest="two", disk="a", size=64 * MIB))
        made.do(CreateDisk(guest="two", disk="b", size=64 * MIB, image="base", version="1"))
        yield made


def publish(site: Lab, name: str, format: str) -> None:
    context = Context(policy=site.policy, peer_uid=0)
    site.handlers[OpenImageWriter](context, OpenImageWriter(image=name, version="1", format=format, size=8 * MIB))
    for descriptor in context.answer_descriptors:
        os.pwrite(descriptor, b"\1CD001\1", 16 * 2048)
        os.ftruncate(descriptor, 8 * MIB)
        os.close(descriptor)
    site.do(PublishImage(image=name, version="1", format=format, digest="ab" * 32))


def opened(pid: int) -> dict[str, int]:
    """Files of the pool that a process has open, and their access modes."""
    found = {}
    for item in os.scandir(f"/proc/{pid}/fd"):
        with open(f"/proc/{pid}/fdinfo/{item.name}") as info:
            flags = next(int(line.split()[1], 8) for line in info if line.startswith("flags"))
        target = os.readlink(item.path)
        if "/pool/" in target:
            found[target.split("/pool/")[1]] = flags & os.O_ACCMODE
    return found


def tables(site: Lab) -> list[list[str]]:
    names = []
    for disk in ("a", "b"):
        descriptor = os.open(site.policy.pool / f"guests/two/disks/{disk}.qcow2", os.O_RDONLY)
        names.append([entry.name for entry in qcow2.read_snapshots(descriptor)])
        os.close(descriptor)
    return names


def nodes(site: Lab) -> dict[str, Any]:
    answer = client.ask(site.policy, "two", {"op": "execute", "command": "query-named-block-nodes"})
    return {item["node-name"]: item["image"] for item in answer["return"]}


def test_disks_of_a_running_guest(site: Lab) -> None:
    site.do(WriteSeed(guest="two", user_data="#cloud-config", meta_data="", network_config=""))
    reading = site.start("two", disks=DISKS, seed=True)
    assert opened(reading.pid) == {
        "guests/two/disks/a.qcow2": os.O_RDWR,
        "guests/two/disks/b.qcow2": os.O_RDWR,
        "images/base/1/image": os.O_RDONLY,
        "guests/two/uefi-vars.fd": os.O_RDWR,
        "guests/two/seed.iso": os.O_RDONLY,
    }
    assert site.do(SnapshotGuest(guest="two", snapshot="one")) == {"frozen": False}
    assert [item["name"] for item in nodes(site)["disk-1"]["snapshots"]] == ["one"]
    # Debris of an attempt whose record was never written is replaced.
    assert client.snapshot(site.policy, "two", "cut-off", False) is False
    assert client.snapshot(site.policy, "two", "cut-off", False) is False
    client.remove_snapshot(site.policy, "two", "cut-off")
    client.remove_snapshot(site.policy, "two", "cut-off")
    site.do(GrowDisk(guest="two", disk="b", size=96 * MIB))
    assert nodes(site)["disk-1"]["virtual-size"] == 96 * MIB
    with pytest.raises(Failure) as refused:
        site.do(RollBackGuest(guest="two", snapshot="one"))
    assert site.reading("two").state == "running", refused.value
    site.do(StopGuest(guest="two", timeout=0))
    assert tables(site) == [["one"], ["one"]]
    site.do(RollBackGuest(guest="two", snapshot="one"))


def test_medium_leaves_at_the_first_reboot_and_stays_away(site: Lab) -> None:
    first = site.start("two", disks=DISKS, media=(MEDIUM,))
    assert opened(first.pid)["images/cd/1/image"] == os.O_RDONLY
    assert not first.media_detached
    with site.shell("two") as console:
        console.sendall(b"reset\r")
        reading = site.until(lambda: (found := site.reading("two")).media_detached and found)
    assert (reading.reboots, reading.pid) == (1, first.pid)
    assert "media-2" not in nodes(site)
    assert "images/cd/1/image" not in opened(first.pid)
    site.do(StopGuest(guest="two", timeout=0))
    again = site.start("two", disks=DISKS, media=(MEDIUM,), digest="ff" * 8)
    assert again.media_detached
    assert "images/cd/1/image" not in opened(again.pid)
    site.do(StopGuest(guest="two", timeout=0))
    site.start("two", disks=DISKS)
    site.do(StopGuest(guest="two", timeout=0))
    anew = site.start("two", disks=DISKS, media=(MEDIUM,))
    assert "images/cd/1/image" in opened(anew.pid), "taken out of the definition and put back, it is used anew"
    assert not anew.media_detached
    site.do(StopGuest(guest="two", timeout=0))


def test_every_model_starts(site: Lab) -> None:
    site.do(CreateGuestFolder(guest="models"))
    models = {
        "one": ("ahci", 0),
        "two": ("ahci", 7),
        "three": ("nvme", 3),
        "four": ("virtio", 30),
        "five": ("nvme", 43),
    }
    disks = tuple(DiskDevice(disk=name, slot=slot, model=model) for name, (model, slot) in models.items())
    for disk in disks:
        format = "raw" if disk.disk == "one" else "qcow2"
        site.do(CreateDisk(guest="models", disk=disk.disk, size=8 * MIB, format=format))
    media = (MediaDevice(image="cd", version="1", slot=4), MediaDevice(image="base", version="1", slot=8))
    assert site.start("models", disks=disks, media=media, secure_boot=True).state == "running"
    with pytest.raises(Failure, match="qcow2") as refused:
        client.snapshot(site.policy, "models", "none", False)
    assert refused.value.code == "unsupported"
    site.do(StopGuest(guest="models", timeout=0))


def test_what_is_missing_is_named(site: Lab) -> None:
    for options, reason in (
        ({"disks": (DiskDevice(disk="none", slot=0),)}, "disk none of guest two is not there"),
        ({"media": (MediaDevice(image="none", version="1", slot=0),)}, "image none:1"),
    ):
        with pytest.raises(Failure, match=reason) as refused:
            site.start("two", **options)
        assert refused.value.code == "missing"
    with pytest.raises(Rejected, match="two devices have slot 0"):
        site.start("two", disks=(DISKS[0], DiskDevice(disk="b", slot=0)))
    with pytest.raises(Rejected, match="slot 44"):
        site.start("two", disks=(DiskDevice(disk="a", slot=44),))
    with pytest.raises(Rejected, match="policy"):
        site.start("two", passthrough=("0000:00:1f.0",))
