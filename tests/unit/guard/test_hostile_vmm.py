"""A guest that took its VMM over writes what it likes to the monitor and the agent's port: the guard lives on."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from skep_helper.guard import agent, guard, probing, protocol, requests
from skep_helper.guard.loop import Future, Loop
from skep_helper.guard.protocol import GuardError
from skep_helper.guard.state import Folder
from skep_helper.handlers import Context, Failure
from skep_helper.linux import guests_probe
from skep_helper.linux.qemu import driver, process
from skep_helper.linux.qemu.qmp import Qmp
from skep_helper.policy import Policy
from skep_helper.vocabulary import OpenAgent, Probe


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """As QEMU gets it; nobody accepts unless the test does."""
    with socket.socket(socket.AF_UNIX) as value:
        value.bind(str(tmp_path / "line"))
        value.listen(1)
        value.settimeout(60)
        yield value


def path_of(listener: socket.socket) -> str:
    return str(listener.getsockname())


def fill(listener: socket.socket) -> None:
    """Take every place in the queue; places of those who hung up again stay taken."""
    refused = 0
    while not refused:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.setblocking(False)
            refused = connection.connect_ex(path_of(listener))
    assert refused == errno.EAGAIN


def finish(loop: Loop, outcome: Future) -> Future:
    outcome.then(lambda _: loop.stop())
    if not outcome.done:
        loop.run()
    return outcome


@pytest.mark.parametrize("line", [b"{", b"[1]", b'"x"', b"[" * 100_000, b"\xff"])
def test_what_is_no_qmp_ends_the_connection_alone(listener: socket.socket, line: bytes) -> None:
    loop, lost = Loop(), Future()
    qmp = Qmp(loop, lambda name, data: None, lost.succeed)
    greeting = loop.start(qmp.connect(path_of(listener), 60))
    with listener.accept()[0] as peer:
        peer.sendall(line + b'\n{"event": "STOP"}\n')
        assert finish(loop, lost).error is None
    assert isinstance(greeting.error, GuardError)
    assert greeting.error.code == "lost"


def test_events_and_errors_of_a_wrong_shape_do_no_harm(listener: socket.socket) -> None:
    loop, events = Loop(), []
    qmp = Qmp(loop, lambda name, data: events.append((name, data)), lambda: None)

    def answer() -> None:
        with listener.accept()[0] as peer, peer.makefile("rb") as lines:
            peer.sendall(b'{"QMP": {}}\n{"event": 7, "data": [1]}\n')
            for line, error in zip(lines, ["text", {"desc": "x" * 100_000}], strict=False):
                peer.sendall(json.dumps({"id": json.loads(line)["id"], "error": error}).encode() + b"\n")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    connected = finish(loop, loop.start(qmp.connect(path_of(listener), 60)))
    assert str(connected.error) == "QEMU: no reason given"
    assert len(str(finish(loop, qmp.execute("stop")).error)) < 2000
    assert events == [("7", {})]
    qmp.close()
    thread.join()


def test_nobody_waits_for_a_vmm_that_does_not_accept(listener: socket.socket) -> None:
    fill(listener)
    loop = Loop()
    qmp = Qmp(loop, lambda name, data: None, lambda: None)
    for task in (qmp.connect(path_of(listener), 60), agent.Agent(loop, path_of(listener)).open(60)):
        assert isinstance(finish(loop, loop.start(task)).error, BlockingIOError)


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """Of a guest "files" that runs, as far as its guard is concerned."""
    monkeypatch.setattr(requests.client, "is_running", lambda policy, guest: True)
    record: dict[str, Any] = {"state": "running"}
    monkeypatch.setattr(probing.client, "read", lambda policy, guest: record)
    Folder(str(tmp_path), "files").make()
    return Context(Policy(run=tmp_path, pool=tmp_path), 0)


def agent_port(context: Context) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(Folder(str(context.policy.run), "files").agent)
    listener.listen(1)
    return listener


def test_the_helper_waits_for_no_agent_port(context: Context) -> None:
    with agent_port(context) as listener:
        requests.open_agent(context, OpenAgent(guest="files"))
        fill(listener)
        with pytest.raises(Failure) as caught:
            requests.open_agent(context, OpenAgent(guest="files"))
    assert caught.value.code == "busy"
    with socket.socket(fileno=context.answer_descriptors.pop()) as stream:
        assert stream.getblocking()


def test_a_probe_keeps_no_more_of_an_agent_than_an_answer(context: Context) -> None:
    written = 0

    def write() -> None:
        nonlocal written
        with listener.accept()[0] as peer:
            try:
                while written < 64 << 20:
                    written += peer.send(b"[" * 65_536)
            except OSError:
                return

    with agent_port(context) as listener:
        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        reading = guests_probe.probe(context, Probe(kind="agent", guest="files", timeout=60))
        thread.join()
    assert not reading.passed
    assert written < 8 << 20


def test_a_new_guard_does_not_keep_the_helper_waiting_for_a_silent_vmm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(str(tmp_path), "files")
    folder.make()
    for path in (folder.output, folder.typed, folder.errors):
        os.mkfifo(path)
    monkeypatch.setattr(driver, "ADOPTING", 0.01)
    loop = Loop()
    with socket.socket(socket.AF_UNIX) as silent, subprocess.Popen(["sleep", "3600"]) as vmm:
        silent.bind(folder.qmp)
        silent.listen(1)
        started = process.start_time(vmm.pid)
        record: dict[str, Any] = {"pid": vmm.pid, "start": started, "state": "running", "message": "", "frozen": False}
        ends: list[int] = []
        adopting = driver.Driver(loop, folder, record, lambda: None, lambda *given: ends.extend(given))
        outcome = finish(loop, loop.start(adopting.adopt()))
        vmm.kill()
    for descriptor in ends:
        os.close(descriptor)
    assert outcome.error is None
    assert record["state"] == "running"
    assert "does not answer" in record["message"]


@pytest.mark.parametrize("message", [{"message": "x" * (1 << 20)}, {"value": "x" * (1 << 20)}])
def test_a_guard_survives_an_answer_that_is_too_long(message: dict[str, str]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    outcome = Future()
    if "message" in message:
        outcome.fail(GuardError("failed", message["message"]))
    else:
        outcome.succeed({"return": message["value"]})
    with ours, theirs:
        guard.Guard.answer(SimpleNamespace(record={}), ours, outcome)  # type: ignore[arg-type]
        answer, _ = protocol.receive(theirs)
    assert answer is not None
    assert answer["error"] == "failed"


def test_an_answer_nested_too_deeply_is_skipped() -> None:
    received = bytearray(b"[" * 100_000 + b'\n{"return": 1}\n')
    assert agent.take_line(received) == {"return": 1}
