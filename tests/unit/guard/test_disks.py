"""Snapshots of a running guest: frozen and thawed by the agent, whatever fails in between."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from skep_helper.guard import agent, freezing, state
from skep_helper.guard.loop import Future, Loop, Task
from skep_helper.guard.protocol import GuardError
from skep_helper.linux.qemu import disks


class FakeAgent:
    """A guest agent that does what it is told, and keeps a list of it; the first bytes it sends are stale."""

    def __init__(self, path: str, fails: tuple[str, ...] = ()) -> None:
        self.calls: list[str] = []
        self._fails = fails
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                connection.sendall(b'{"return": 7}\n{"retu')
                for line in lines:
                    self._answer(connection, json.loads(line.lstrip(agent.DELIMITER)))

    def _answer(self, connection: socket.socket, request: dict[str, Any]) -> None:
        name = request["execute"]
        if name == "guest-sync-delimited":
            answer = json.dumps({"return": request["arguments"]["id"]}).encode()
            connection.sendall(agent.DELIMITER + answer + b"\n")
            return
        self.calls.append(name)
        error = {"error": {"class": "GenericError", "desc": "cannot freeze"}}
        connection.sendall(json.dumps(error if name in self._fails else {"return": 1}).encode() + b"\n")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


class FakeQmp:
    def __init__(self, agent_calls: list[str] | None = None, fails: tuple[str, ...] = ()) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._agent_calls = agent_calls
        self._fails = fails

    def execute(self, command: str, arguments: Any = None) -> Future:
        self.calls.append((command, arguments))
        if self._agent_calls is not None and command == "transaction":
            self._agent_calls.append("transaction")
        future = Future()
        if command in self._fails:
            future.fail(GuardError("failed", "QEMU: no"))
        elif command == "query-named-block-nodes":
            future.succeed([{"node-name": "disk-0", "image": {"snapshots": [{"name": "old"}]}}])
        else:
            future.succeed({})
        return future


@pytest.fixture
def folder() -> Iterator[state.Folder]:
    with tempfile.TemporaryDirectory(prefix="skep-") as run:
        made = state.Folder(run, "g")
        made.make()
        yield made


def run(folder: state.Folder, qmp: FakeQmp, work: str, *arguments: Any, **record: Any) -> tuple[Future, dict[str, Any]]:
    loop = Loop()
    base = {"state": "running", "frozen": False, "disks": {"a": ["disk-0", "qcow2"], "b": ["disk-1", "qcow2"]}}
    status = {**base, "message": "", "media": {}, "detached": [], **record}
    made = disks.Disks(loop, folder, status, lambda: state.write(folder, status), qmp)  # type: ignore[arg-type]
    task: Task = getattr(made, work)(*arguments)
    outcome = loop.start(task)
    outcome.then(lambda _: loop.stop())
    if not outcome.done:
        loop.run()
    return outcome, status


def test_frozen_before_and_thawed_after(folder: state.Folder) -> None:
    guest = FakeAgent(folder.agent)
    qmp = FakeQmp(guest.calls)
    outcome, status = run(folder, qmp, "snapshot", "new", True)
    guest.close()
    assert outcome.value is True
    assert guest.calls == ["guest-fsfreeze-freeze", "transaction", "guest-fsfreeze-thaw"]
    assert status["frozen"] is False
    actions = qmp.calls[-1][1]["actions"]
    assert [action["data"] for action in actions] == [
        {"device": "disk-0", "name": "new"},
        {"device": "disk-1", "name": "new"},
    ]


def test_thawed_when_the_snapshot_fails(folder: state.Folder) -> None:
    guest = FakeAgent(folder.agent)
    outcome, status = run(folder, FakeQmp(guest.calls, fails=("transaction",)), "snapshot", "new", True)
    guest.close()
    assert isinstance(outcome.error, GuardError)
    assert guest.calls[-1] == "guest-fsfreeze-thaw"
    assert not status["frozen"]


def test_a_guest_that_cannot_freeze_is_snapshot_all_the_same(folder: state.Folder) -> None:
    guest = FakeAgent(folder.agent, fails=("guest-fsfreeze-freeze",))
    outcome, status = run(folder, FakeQmp(guest.calls), "snapshot", "new", True)
    guest.close()
    assert outcome.value is False
    assert guest.calls == ["guest-fsfreeze-freeze", "transaction", "guest-fsfreeze-thaw"]
    assert not status["frozen"]


@pytest.mark.parametrize("quiesce", [True, False])
def test_without_an_agent(folder: state.Folder, quiesce: bool) -> None:
    outcome, _ = run(folder, FakeQmp(), "snapshot", "new", quiesce)
    assert outcome.value is False


def test_what_a_killed_guard_froze_is_thawed(folder: state.Folder) -> None:
    guest = FakeAgent(folder.agent)
    _, status = run(folder, FakeQmp(), "thaw", frozen=True)
    guest.close()
    assert guest.calls == ["guest-fsfreeze-thaw"]
    assert not status["frozen"]


def test_a_failed_thaw_is_told_and_tried_again_next_time(folder: state.Folder) -> None:
    guest = FakeAgent(folder.agent, fails=("guest-fsfreeze-thaw",))
    _, status = run(folder, FakeQmp(), "thaw", frozen=True)
    guest.close()
    assert status["frozen"]
    assert "may still be frozen" in status["message"]


def test_only_disks_that_have_it_lose_a_snapshot(folder: state.Folder) -> None:
    qmp = FakeQmp()
    run(folder, qmp, "remove_snapshot", "old")
    run(folder, qmp, "remove_snapshot", "other")
    deleted = [arguments for command, arguments in qmp.calls if command.startswith("blockdev-snapshot-delete")]
    assert deleted == [{"device": "disk-0", "name": "old"}]


def test_media_leave_once_and_it_is_written_down(folder: state.Folder) -> None:
    qmp = FakeQmp()
    file = f"{folder.path}/detached.json"
    media = {"media-2": ["cd:1", 9]}
    _, status = run(folder, qmp, "detach_media", media=media, detached_file=file)
    assert (status["media"], status["detached"], status["media_detached"]) == ({}, ["cd:1"], True)
    with open(file) as stream:
        assert json.load(stream) == ["cd:1"]
    assert [command for command, _ in qmp.calls][:2] == ["blockdev-open-tray", "blockdev-remove-medium"]


def test_a_disk_that_came_later_cannot_grow_yet(folder: state.Folder) -> None:
    outcome, _ = run(folder, FakeQmp(), "grow", "late", 1 << 30)
    assert isinstance(outcome.error, GuardError)
    assert outcome.error.code == "missing"
    assert not os.path.exists(folder.agent)


def test_a_guest_frozen_for_somebody_is_thawed_when_he_says_so_or_too_late(folder: state.Folder) -> None:
    guest = FakeAgent(folder.agent)
    outcome, status = run(folder, FakeQmp(), "freeze", 60.0)
    assert outcome.value is True
    assert status["frozen"]
    run(folder, FakeQmp(), "thaw", frozen=True)
    assert guest.calls == ["guest-fsfreeze-freeze", "guest-fsfreeze-thaw"]
    loop, status = Loop(), {"state": "running", "frozen": False, "message": ""}
    loop.start(freezing.Freezer(loop, folder.agent, status, lambda: status["frozen"] or loop.stop()).freeze_for(0.01))
    loop.run()
    assert guest.calls == ["guest-fsfreeze-freeze", "guest-fsfreeze-thaw"] * 2
    assert not status["frozen"]
    guest.close()


def test_a_guest_that_cannot_freeze_is_not_held(folder: state.Folder) -> None:
    guest = FakeAgent(folder.agent, fails=("guest-fsfreeze-freeze",))
    outcome, status = run(folder, FakeQmp(), "freeze", 60.0)
    assert outcome.value is False
    assert not status["frozen"]
    assert guest.calls == ["guest-fsfreeze-freeze", "guest-fsfreeze-thaw"]
    guest.close()
