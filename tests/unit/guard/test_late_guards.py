"""Guards that answer late or never: nobody else waits for them."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from skep_helper import main, platforms, server
from skep_helper.freebsd import guests as freebsd_guests
from skep_helper.guard import client, protocol, readings, spawning, state
from skep_helper.handlers import Failure
from skep_helper.linux import guests, storage
from skep_helper.policy import Policy
from skep_helper.vocabulary import (
    OpenAgent,
    OpenConsole,
    ReadGuests,
    RemoveDisk,
    StartGuest,
    TrashGuestFolder,
)
from skepd.helper_client import HelperClient

SAFETY = 60.0


@pytest.fixture
def policy() -> Iterator[Policy]:
    with tempfile.TemporaryDirectory(prefix="skep-late-") as folder:
        yield Policy(pool=Path(folder) / "pool", run=Path(folder) / "run")


def running(policy: Policy, name: str) -> state.Folder:
    """A guest as its state file shows it while it runs."""
    (policy.pool / "guests" / name).mkdir(parents=True)
    folder = state.Folder(str(policy.run), name)
    folder.make()
    record = {
        "guest": name, "state": "running", "digest": "ab" * 8, "pid": 1, "started": 1.0, "ending": "", "ended": 0.0,
        "reboots": 0, "media_detached": False, "accelerator": "tcg", "message": "", "memory": 100,
    }  # fmt: skip
    state.write(folder, record)
    return folder


class Spawner:
    """Stands for the process that new guards are forked from: it answers nobody until so many have asked."""

    def __init__(self, most: int) -> None:
        self.asked: list[str] = []
        self._most = most
        self._waiting: list[socket.socket] = []

    def connect(self, run: str) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        threading.Thread(target=self._take, args=(theirs,), daemon=True).start()
        return ours

    def _take(self, theirs: socket.socket) -> None:
        message, _ = protocol.receive(theirs)
        assert message is not None
        self.asked.append(message["guest"])
        self._waiting.append(theirs)
        if len(self._waiting) == self._most:
            for connection in self._waiting:
                protocol.send(connection, {"state": {}})


def test_all_new_guards_are_asked_before_one_is_waited_for(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        running(policy, name)
    spawner = Spawner(3)
    monkeypatch.setattr(spawning, "connect", spawner.connect)
    monkeypatch.setattr(readings, "PATIENCE", SAFETY)
    assert [(record["guest"], record["message"]) for record in readings.readings(policy)] == [
        ("a", ""), ("b", ""), ("c", ""),
    ]  # fmt: skip
    assert sorted(spawner.asked) == ["a", "b", "c"]


def test_a_guard_that_does_not_answer_is_reported_as_such(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    running(policy, "hung")
    watched = running(policy, "watched")
    lock = state.acquire(watched)
    assert lock is not None
    spawner = Spawner(2)
    monkeypatch.setattr(spawning, "connect", spawner.connect)
    monkeypatch.setattr(readings, "PATIENCE", 0.01)
    found = {record["guest"]: record["message"] for record in readings.readings(policy)}
    assert "did not answer within" in found["hung"]
    assert found["watched"] == ""
    os.close(lock)


def serve(policy: Policy) -> None:
    listener = main.listen(policy.run / "helper.sock", os.getgid())
    platform = platforms.Platform(
        name="test", boot_id="boot-1", handlers=guests.HANDLERS, long=guests.LONG, features=lambda policy: (),
        prepare=lambda policy: None, recover=lambda policy: None,
    )  # fmt: skip
    server.Server(policy, platform, listener, frozenset({os.getuid()})).run()


@pytest.fixture
def helper(policy: Policy) -> Iterator[int]:
    policy.run.mkdir()
    pid = os.fork()
    if pid == 0:
        try:
            serve(policy)
        finally:
            os._exit(0)
    yield pid
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)


def test_nobody_else_waits_for_a_guard_that_hangs(policy: Policy, helper: int) -> None:
    folder = running(policy, "hung")
    lock = state.acquire(folder)
    assert lock is not None
    opened: list[int] = []

    def open_console() -> None:
        with closing(HelperClient(policy.run / "helper.sock", patience=SAFETY)) as client:
            opened.append(client.open(OpenConsole(guest="hung"))[1])

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(folder.socket)
        listener.listen()
        listener.settimeout(SAFETY)
        viewer = threading.Thread(target=open_console)
        viewer.start()
        guard, _ = listener.accept()
        with closing(HelperClient(policy.run / "helper.sock", patience=SAFETY)) as client:
            (answer,) = client.perform([ReadGuests()])
        assert [reading.name for reading in answer] == ["hung"]
        # Only now does the guard answer: nobody has waited for it but its viewer.
        message, _ = protocol.receive(guard)
        assert (message or {})["op"] == "console"
        with open("/dev/null") as null:
            protocol.send(guard, {"state": {}, "offset": 0}, [null.fileno()])
        viewer.join()
        guard.close()
    assert os.read(opened[0], 1) == b""
    os.close(opened[0])
    os.close(lock)


def test_what_waits_for_a_guard_has_a_process_of_its_own() -> None:
    for module in (guests, freebsd_guests):
        assert {StartGuest, OpenConsole, OpenAgent} <= module.LONG
    assert {RemoveDisk, TrashGuestFolder} <= storage.LONG


def test_a_start_that_takes_too_long_is_told_as_one(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = running(policy, "a")
    monkeypatch.setattr(spawning, "connect", Spawner(2).connect)
    monkeypatch.setattr(client, "BEGINNING", 0.01)
    with pytest.raises(Failure) as caught:
        client.spawn(policy, {"guest": "a"})
    assert (caught.value.code, folder.log in caught.value.message) == ("timeout", True), caught.value
