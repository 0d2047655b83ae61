"""The contract of the verbs that run guests. The guest has a blank disk: its VMM runs, nothing boots in it."""

from __future__ import annotations

import os
import socket
from typing import Any

from conformance_lab import GUEST, KEYS, MIB, PORT, PREFIX, A, disk_format, need, network, port, refusal, refused
from planning import observe
from skep_helper import vocabulary as v
from skep_helper.vocabulary.guest import DiskDevice, NicDevice
from skepd.host import Host
from skepd.plan.digests import NO_DIGEST, sealed

STOP = v.StopGuest(guest=GUEST, timeout=0)
MEMORY = 256 * MIB
"""Enough for any firmware to begin."""


def spec(**fields: Any) -> v.GuestSpec:
    return sealed(v.GuestSpec(name=GUEST, digest=NO_DIGEST, memory=MEMORY, **fields))


def reading(host: Host) -> v.GuestReading | None:
    return observe(host).guest_of.get(GUEST)


def make_folder(host: Host) -> None:
    host.perform(
        [
            v.CreateGuestFolder(guest=GUEST),
            v.CreateDisk(guest=GUEST, disk="data", size=8 * MIB, format=disk_format(host)),
        ]
    )


def start(host: Host) -> None:
    need(host, "vmm", "nmdm")
    make_folder(host)
    host.perform([v.StartGuest(guest=spec(disks=(DiskDevice(disk="data", slot=0),)))])


def test_a_guest_starts_and_stops(host: Host) -> None:
    start(host)
    first = reading(host)
    assert first is not None
    wanted = spec(disks=(DiskDevice(disk="data", slot=0),))
    assert (first.state, first.digest) == ("running", wanted.digest)
    (again,) = host.perform([v.StartGuest(guest=wanted)])
    assert again.pid == first.pid
    host.perform([STOP, STOP])
    last = reading(host)
    assert last is not None
    assert (last.state, last.digest, last.ending) == ("stopped", "", "killed")


def test_a_guest_needs_its_parts(host: Host) -> None:
    need(host, "vmm", "nmdm")
    make_folder(host)
    nobody = sealed(v.GuestSpec(name=f"{PREFIX}-none", digest=NO_DIGEST, memory=MEMORY))
    assert refused(host, v.StartGuest(guest=nobody)) == "missing"
    assert refused(host, v.StartGuest(guest=spec(disks=(DiskDevice(disk="none", slot=0),)))) == "missing"
    nic = NicDevice(port=PORT, slot=1, mac="02:00:00:00:00:51")
    assert refused(host, v.StartGuest(guest=spec(nics=(nic,)))) == "missing"
    assert refused(host, v.StartGuest(guest=spec(seed=True))) == "missing"
    running = reading(host)
    assert running is None or running.state != "running"


def test_a_guest_on_a_port(host: Host) -> None:
    need(host, "vmm", "nmdm")
    make_folder(host)
    nic = NicDevice(port=PORT, slot=1, mac="02:00:00:00:00:51")
    host.perform([v.ApplyNetwork(network=network(host, A, 1)), v.ApplyPort(port=port(guest=GUEST))])
    host.perform([v.StartGuest(guest=spec(nics=(nic,)))])
    found = reading(host)
    assert found is not None
    assert found.state == "running"


def test_what_a_running_guest_keeps_from_happening(host: Host) -> None:
    start(host)
    key = KEYS[0]
    host.perform([v.SnapshotGuest(guest=GUEST, snapshot="one", quiesce=False)])
    assert refused(host, v.TrashGuestFolder(guest=GUEST, key=key)) == "busy"
    assert refused(host, v.RemoveDisk(guest=GUEST, disk="data", key=key)) == "busy"
    assert refused(host, v.RollBackGuest(guest=GUEST, snapshot="one")) == "busy"


def test_a_disk_made_since_the_start_may_go(host: Host) -> None:
    """What undoing a plan needs that gave a running guest another disk."""
    start(host)
    host.perform([v.CreateDisk(guest=GUEST, disk="new", size=8 * MIB, format=disk_format(host))])
    host.perform([v.RemoveDisk(guest=GUEST, disk="new", key=KEYS[0]), v.EmptyTrash(key=KEYS[0])])
    assert [disk.disk for disk in observe(host).folder_of[GUEST].disks] == ["data"]


def test_a_disk_made_since_the_start_grows_and_is_in_snapshots(host: Host) -> None:
    start(host)
    host.perform([v.CreateDisk(guest=GUEST, disk="new", size=8 * MIB, format=disk_format(host))])
    host.perform([v.GrowDisk(guest=GUEST, disk="new", size=16 * MIB)])
    host.perform([v.SnapshotGuest(guest=GUEST, snapshot="one", quiesce=False)])
    found = observe(host).folder_of[GUEST]
    assert {disk.disk: disk.size for disk in found.disks} == {"data": 8 * MIB, "new": 16 * MIB}
    assert [snapshot.disks for snapshot in found.snapshots] == [("data", "new")]
    host.perform([STOP, v.RollBackGuest(guest=GUEST, snapshot="one"), v.RemoveSnapshot(guest=GUEST, snapshot="one")])


def test_a_disk_of_a_running_guest_grows(host: Host) -> None:
    start(host)
    host.perform([v.GrowDisk(guest=GUEST, disk="data", size=16 * MIB)])
    assert observe(host).folder_of[GUEST].disks[0].size == 16 * MIB


def test_pause_and_resume(host: Host) -> None:
    start(host)
    for request, state in ((v.PauseGuest(guest=GUEST), "paused"), (v.ResumeGuest(guest=GUEST), "running")):
        host.perform([request, request])
        found = reading(host)
        assert found is not None
        assert found.state == state


def test_what_only_a_running_guest_can(host: Host) -> None:
    make_folder(host)
    for request in (v.ResetGuest(guest=GUEST), v.PauseGuest(guest=GUEST), v.ResumeGuest(guest=GUEST)):
        assert refused(host, request) == "missing"
    for request in (v.OpenConsole(guest=GUEST), v.OpenScreen(guest=GUEST), v.OpenAgent(guest=GUEST)):
        assert refusal(host.open, request).code == "missing"


def test_a_probe_of_a_guest_that_does_not_run(host: Host) -> None:
    make_folder(host)
    (answer,) = host.perform([v.Probe(kind="agent", guest=GUEST, timeout=0)])
    assert not answer.passed


def test_one_types_and_many_read(host: Host) -> None:
    start(host)
    _, first = host.open(v.OpenConsole(guest=GUEST))
    with socket.socket(fileno=first) as writer:
        assert refusal(host.open, v.OpenConsole(guest=GUEST)).code == "busy"
        _, reader = host.open(v.OpenConsole(guest=GUEST, writer=False))
        os.close(reader)
        _, second = host.open(v.OpenConsole(guest=GUEST, take=True))
        os.close(second)
        writer.settimeout(60)
        while writer.recv(4096):
            pass
    (history,) = host.perform([v.ReadConsole(guest=GUEST, offset=0)])
    assert history["offset"] == 0


def test_a_screen_speaks_rfb(host: Host) -> None:
    start(host)
    _, descriptor = host.open(v.OpenScreen(guest=GUEST))
    with socket.socket(fileno=descriptor) as screen:
        screen.settimeout(60)
        assert screen.recv(12, socket.MSG_WAITALL) == b"RFB 003.008\n"


def test_requests_in_the_wrong_place(host: Host) -> None:
    assert refusal(host.open, STOP).code in ("rejected", "failed")
