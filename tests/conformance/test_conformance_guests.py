"""The contract of the verbs that run guests. The guest has a blank disk: its VMM runs, nothing boots in it."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from conformance_lab import GUEST, KEYS, MIB, PORT, PREFIX, A, network, port
from planning import observe
from skep_helper import vocabulary as v
from skep_helper.vocabulary.guest import DiskDevice, NicDevice
from skepd.host import Host, HostError
from skepd.plan.digests import NO_DIGEST, sealed

STOP = v.StopGuest(guest=GUEST, timeout=0)


def spec(**fields: Any) -> v.GuestSpec:
    return sealed(v.GuestSpec(name=GUEST, digest=NO_DIGEST, memory=64 * MIB, **fields))


def reading(host: Host) -> v.GuestReading | None:
    return observe(host).guest_of.get(GUEST)


def code(host: Host, request: object) -> str:
    with pytest.raises(HostError) as caught:
        host.perform([request])
    return caught.value.code


@pytest.fixture
def folder(host: Host) -> Host:
    host.perform([v.CreateGuestFolder(guest=GUEST), v.CreateDisk(guest=GUEST, disk="data", size=8 * MIB)])
    return host


@pytest.fixture
def running(folder: Host) -> Host:
    folder.perform([v.StartGuest(guest=spec(disks=(DiskDevice(disk="data", slot=0),)))])
    return folder


def test_a_guest_starts_and_stops(running: Host) -> None:
    first = reading(running)
    assert first is not None
    wanted = spec(disks=(DiskDevice(disk="data", slot=0),))
    assert (first.state, first.digest) == ("running", wanted.digest)
    (again,) = running.perform([v.StartGuest(guest=wanted)])
    assert again.pid == first.pid
    running.perform([STOP, STOP])
    last = reading(running)
    assert last is not None
    assert (last.state, last.digest, last.ending) == ("stopped", "", "killed")


def test_a_guest_needs_its_parts(folder: Host) -> None:
    nobody = sealed(v.GuestSpec(name=f"{PREFIX}-none", digest=NO_DIGEST, memory=64 * MIB))
    assert code(folder, v.StartGuest(guest=nobody)) == "missing"
    assert code(folder, v.StartGuest(guest=spec(disks=(DiskDevice(disk="none", slot=0),)))) == "missing"
    nic = NicDevice(port=PORT, slot=1, mac="02:00:00:00:00:51")
    assert code(folder, v.StartGuest(guest=spec(nics=(nic,)))) == "missing"
    assert code(folder, v.StartGuest(guest=spec(seed=True))) == "missing"
    running = reading(folder)
    assert running is None or running.state != "running"


def test_a_guest_on_a_port(folder: Host) -> None:
    nic = NicDevice(port=PORT, slot=1, mac="02:00:00:00:00:51")
    folder.perform([v.ApplyNetwork(network=network(A, 1)), v.ApplyPort(port=port(guest=GUEST))])
    folder.perform([v.StartGuest(guest=spec(nics=(nic,)))])
    found = reading(folder)
    assert found is not None
    assert found.state == "running"


def test_what_a_running_guest_keeps_from_happening(running: Host) -> None:
    key = KEYS[0]
    running.perform([v.SnapshotGuest(guest=GUEST, snapshot="one", quiesce=False)])
    assert code(running, v.TrashGuestFolder(guest=GUEST, key=key)) == "busy"
    assert code(running, v.RemoveDisk(guest=GUEST, disk="data", key=key)) == "busy"
    assert code(running, v.RollBackGuest(guest=GUEST, snapshot="one")) == "busy"


def test_a_disk_made_since_the_start_may_go(running: Host) -> None:
    """What undoing a plan needs that gave a running guest another disk."""
    running.perform([v.CreateDisk(guest=GUEST, disk="new", size=8 * MIB)])
    running.perform([v.RemoveDisk(guest=GUEST, disk="new", key=KEYS[0]), v.EmptyTrash(key=KEYS[0])])
    assert [disk.disk for disk in observe(running).folder_of[GUEST].disks] == ["data"]


def test_a_disk_of_a_running_guest_grows(running: Host) -> None:
    running.perform([v.GrowDisk(guest=GUEST, disk="data", size=16 * MIB)])
    assert observe(running).folder_of[GUEST].disks[0].size == 16 * MIB


def test_pause_and_resume(running: Host) -> None:
    for request, state in ((v.PauseGuest(guest=GUEST), "paused"), (v.ResumeGuest(guest=GUEST), "running")):
        running.perform([request, request])
        found = reading(running)
        assert found is not None
        assert found.state == state


def test_what_only_a_running_guest_can(folder: Host) -> None:
    for request in (v.ResetGuest(guest=GUEST), v.PauseGuest(guest=GUEST), v.ResumeGuest(guest=GUEST)):
        assert code(folder, request) == "missing"
    for request in (v.OpenConsole(guest=GUEST), v.OpenScreen(guest=GUEST), v.OpenAgent(guest=GUEST)):
        with pytest.raises(HostError) as caught:
            folder.open(request)
        assert caught.value.code == "missing"


def test_a_probe_of_a_guest_that_does_not_run(folder: Host) -> None:
    (answer,) = folder.perform([v.Probe(kind="agent", guest=GUEST, timeout=0)])
    assert not answer.passed


def test_one_types_and_many_read(running: Host) -> None:
    _, first = running.open(v.OpenConsole(guest=GUEST))
    with socket.socket(fileno=first) as writer:
        with pytest.raises(HostError) as caught:
            running.open(v.OpenConsole(guest=GUEST))
        assert caught.value.code == "busy"
        _, reader = running.open(v.OpenConsole(guest=GUEST, writer=False))
        os.close(reader)
        _, second = running.open(v.OpenConsole(guest=GUEST, take=True))
        os.close(second)
        writer.settimeout(60)
        while writer.recv(4096):
            pass
    (history,) = running.perform([v.ReadConsole(guest=GUEST, offset=0)])
    assert history["offset"] == 0


def test_a_screen_speaks_rfb(running: Host) -> None:
    _, descriptor = running.open(v.OpenScreen(guest=GUEST))
    with socket.socket(fileno=descriptor) as screen:
        screen.settimeout(60)
        assert screen.recv(12, socket.MSG_WAITALL) == b"RFB 003.008\n"


def test_requests_in_the_wrong_place(host: Host) -> None:
    with pytest.raises(HostError) as caught:
        host.open(STOP)
    assert caught.value.code in ("rejected", "failed")
