"""The simulated host itself: faults, power, guests that behave, streams. Its verbs are tested in tests/conformance."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from planning import observe
from skep_helper import vocabulary as v
from skepd.host import HostError
from skepd.plan.digests import NO_DIGEST, sealed
from skepd.platform.sim import Behaviour, Died, Fault, SimHost

MIB = 1 << 20
FOLDER = v.CreateGuestFolder(guest="a")


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.now += seconds
        return event.is_set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host(clock: Clock) -> Iterator[SimHost]:
    found = SimHost(clock=clock, wait=clock.wait)
    yield found
    found.close()


def start(host: SimHost, **fields: Any) -> None:
    spec = sealed(v.GuestSpec(name="a", digest=NO_DIGEST, memory=64 * MIB, **fields))
    host.perform([FOLDER, v.StartGuest(guest=spec)])


def state(host: SimHost) -> str:
    return observe(host).guest_of["a"].state


FAILURES = [
    ("fail", "failed", False),
    ("full", "full", False),
    ("helper-dies-before", "lost", False),
    ("helper-dies-after", "lost", True),
]
DEATHS = [("dies-before", False), ("dies-after", True), ("power-before", False), ("power-after", True)]


@pytest.mark.parametrize(("action", "code", "done"), FAILURES)
def test_a_request_fails(host: SimHost, action: str, code: str, done: bool) -> None:
    host.arm(Fault(action=action, at=2))
    # Readings do not count, they change nothing.
    with pytest.raises(HostError) as caught:
        host.perform([FOLDER, v.ReadGuests(), v.CreateGuestFolder(guest="b"), v.CreateGuestFolder(guest="c")])
    assert (caught.value.code, caught.value.index) == (code, 2)
    assert set(observe(host).folder_of) == ({"a", "b"} if done else {"a"})
    host.perform([v.CreateGuestFolder(guest="b")])


@pytest.mark.parametrize(("action", "done"), DEATHS)
def test_the_caller_dies(host: SimHost, action: str, done: bool) -> None:
    boot = host.hello().boot_id
    host.arm(Fault(action=action, request=v.CreateGuestFolder))
    with pytest.raises(Died):
        host.perform([FOLDER])
    assert ("a" in observe(host).folder_of) == done
    assert (host.hello().boot_id != boot) == action.startswith("power")


def test_there_is_no_such_fault() -> None:
    with pytest.raises(ValueError, match="no such fault"):
        Fault(action="explode")


def test_a_hung_request_ends_when_it_is_cancelled() -> None:
    host = SimHost()
    host.arm(Fault(action="hang"))
    codes: list[str] = []

    def hang() -> None:
        try:
            host.perform([FOLDER])
        except HostError as error:
            codes.append(error.code)

    thread = threading.Thread(target=hang)
    thread.start()
    # Short requests pass by the hung one.
    while host.faults.count == 0:
        host.perform([v.ReadGuests()])
    while thread.is_alive():
        host.cancel()
        thread.join(0.01)
    assert codes == ["cancelled"]
    assert observe(host).folder_of == {}


def test_latency_is_time_on_the_hosts_clock(clock: Clock, host: SimHost) -> None:
    host.latency = 5.0
    host.perform([FOLDER, v.ReadGuests()])
    assert clock.now == 1010.0


def test_power_loss_keeps_what_is_durable(host: SimHost) -> None:
    host.add_image("i", "1", MIB)
    start(host)
    host.perform([v.CreateDisk(guest="a", disk="d", size=MIB), v.SnapshotGuest(guest="a", snapshot="s")])
    before = observe(host)
    host.lose_power()
    after = observe(host)
    assert after.storage == before.storage
    assert after.guests == ()


def test_a_rollback_brings_back_what_was_written(host: SimHost) -> None:
    host.perform([FOLDER, v.CreateDisk(guest="a", disk="d", size=MIB)])
    host.write_disk("a", "d", "one")
    host.perform([v.SnapshotGuest(guest="a", snapshot="s")])
    host.write_disk("a", "d", "two")
    host.perform([v.RollBackGuest(guest="a", snapshot="s")])
    assert host.read_disk("a", "d") == "one"


def test_a_guest_is_ready_after_its_time(clock: Clock, host: SimHost) -> None:
    host.guests.behaviour["a"] = Behaviour(ready_after=30.0)
    start(host)
    probe = v.Probe(kind="ping", guest="a", address="10.0.0.1")
    assert not host.perform([probe])[0].passed
    clock.now += 30
    assert host.perform([probe])[0].passed
    host.reboot("a")
    assert not host.perform([probe])[0].passed


def test_a_guest_that_does_not_react_to_the_button(clock: Clock, host: SimHost) -> None:
    host.guests.behaviour["a"] = Behaviour(shuts_down_after=None)
    start(host)
    with pytest.raises(HostError) as caught:
        host.perform([v.StopGuest(guest="a", timeout=60, force=False)])
    assert caught.value.code == "timeout"
    assert (state(host), clock.now) == ("running", 1060.0)
    host.perform([v.StopGuest(guest="a", timeout=60)])
    assert observe(host).guest_of["a"].ending == "killed"


def test_a_paused_guest_goes_on_to_shut_down(clock: Clock, host: SimHost) -> None:
    start(host)
    host.perform([v.PauseGuest(guest="a")])
    before = clock.now
    host.perform([v.StopGuest(guest="a", timeout=60)])
    assert observe(host).guest_of["a"].ending == "power-off"
    assert clock.now - before < 60


def test_endings(host: SimHost) -> None:
    start(host)
    host.power_off("a")
    assert (state(host), observe(host).guest_of["a"].ending) == ("stopped", "power-off")
    start(host)
    host.crash("a", "triple-fault")
    assert (state(host), observe(host).guest_of["a"].ending) == ("crashed", "triple-fault")


def test_media_are_detached_at_the_first_reboot(host: SimHost) -> None:
    host.add_image("iso", "1", MIB, "iso")
    media = v.guest.MediaDevice(image="iso", version="1", slot=3, until_reboot=True)
    start(host, media=(media,))
    assert not observe(host).guest_of["a"].media_detached
    host.reboot("a")
    reading = observe(host).guest_of["a"]
    assert (reading.media_detached, reading.reboots) == (True, 1)


def test_one_pci_device_for_one_guest(host: SimHost) -> None:
    start(host, passthrough=("0000:01:00.0",))
    host.perform([v.CreateGuestFolder(guest="b")])
    other = sealed(v.GuestSpec(name="b", digest=NO_DIGEST, memory=64 * MIB, passthrough=("0000:01:00.0",)))
    with pytest.raises(HostError, match="guest a has PCI device"):
        host.perform([v.StartGuest(guest=other)])


def test_a_console_echoes_to_all_and_keeps_a_history(host: SimHost) -> None:
    start(host)
    _, reader_end = host.open(v.OpenConsole(guest="a", writer=False))
    _, writer_end = host.open(v.OpenConsole(guest="a"))
    with socket.socket(fileno=reader_end) as reader, socket.socket(fileno=writer_end) as writer:
        for end in (reader, writer):
            end.settimeout(60)
        reader.sendall(b"a reader's typing is not heard")
        writer.sendall(b"hello")
        assert reader.recv(5, socket.MSG_WAITALL) == b"hello"
        assert writer.recv(5, socket.MSG_WAITALL) == b"hello"
    (history,) = host.perform([v.ReadConsole(guest="a")])
    assert history["offset"] == 0
    assert host.guests.running["a"].console.said(b"hello")
    assert not host.guests.running["a"].console.said(b"typing")


def test_an_agent_answers(host: SimHost) -> None:
    start(host)
    _, descriptor = host.open(v.OpenAgent(guest="a"))
    with socket.socket(fileno=descriptor) as agent, agent.makefile("rwb") as stream:
        agent.settimeout(60)
        for request, key in (({"execute": "guest-ping"}, "return"), ({"execute": "guest-none"}, "error")):
            stream.write(json.dumps(request).encode() + b"\n")
            stream.flush()
            assert key in json.loads(stream.readline())


def test_an_image_writer_is_a_real_descriptor_that_resumes(host: SimHost) -> None:
    request = v.OpenImageWriter(image="i", version="1", format="raw", size=MIB)
    for offset, data in ((0, b"first"), (5, b"second")):
        _, descriptor = host.open(request)
        os.pwrite(descriptor, data, offset)
        assert os.pread(descriptor, 5, 0) == b"first"
        os.close(descriptor)


def test_what_the_host_has_no_room_for() -> None:
    host = SimHost(storage=10 * MIB)
    with pytest.raises(HostError) as caught:
        host.perform([FOLDER, v.CreateDisk(guest="a", disk="d", size=11 * MIB, edition="full")])
    assert caught.value.code == "full"
