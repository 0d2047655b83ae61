"""A guard that cannot start its VMM, or not follow it, leaves: the next start or the next guard finds the way free."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from skep_helper.guard import guard, loop, protocol, state
from skep_helper.guard.protocol import GuardError
from skep_helper.linux.qemu import process

SAFETY = 60.0


class Lab:
    """One guest, "g"; a sleeping process stands for its QEMU."""

    def __init__(self, folder: Path) -> None:
        self.folder = state.Folder(str(folder), "g")
        self.folder.make()
        for path in (self.folder.errors, self.folder.typed, self.folder.output):
            os.mkfifo(path)
        self.run = str(folder)
        os.mkdir(f"{folder}/history")
        self.sleeper = subprocess.Popen(["sleep", "600"])
        self.guards: list[int] = []

    def record(self, **changes: Any) -> dict[str, Any]:
        return {
            "guest": "g", "digest": "ab" * 8, "memory": 1, "driver": guard.DRIVERS[0], "accelerator": "tcg",
            "state": "stopped", "pid": 0, "start": 0, "started": 0.0, "ending": "", "ended": 0.0, "reboots": 0,
            "message": "", "frozen": False, "screen": False, "serial_start": -1, "history": f"{self.run}/history",
            "disks": {}, "media": {}, "detached": [], "media_detached": False, **changes,
        }  # fmt: skip

    def running(self) -> dict[str, Any]:
        """As a guard leaves it that was killed."""
        pid = self.sleeper.pid
        record = self.record(state="running", pid=pid, start=process.start_time(pid))
        state.write(self.folder, record)
        return record

    def guard(self, message: dict[str, Any], broken: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Fork a guard, with something broken in it; returns its first answer."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lock = [state.acquire(self.folder)] if "launch" in message else []
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                os.setsid()
                broken()
                guard.run(theirs, {"run": self.run, "guest": "g", **message}, lock)  # type: ignore[arg-type]
            os._exit(0)
        self.guards.append(pid)
        theirs.close()
        for descriptor in lock:
            os.close(descriptor)  # type: ignore[arg-type]
        with ours:
            ours.settimeout(SAFETY)
            answer, _ = protocol.receive(ours)
        return protocol.answer_of(answer)

    def await_gone(self) -> dict[str, Any]:
        end = time.monotonic() + SAFETY
        while state.guarded(self.folder):
            assert time.monotonic() < end, state.read(self.folder)
            time.sleep(0.01)
        return state.read(self.folder) or {}

    def close(self) -> None:
        for pid in self.guards:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.sleeper.kill()
        self.sleeper.wait()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="skep-guard-") as folder:
        made = Lab(Path(folder))
        yield made
        made.close()


def refuse(*_: Any) -> Any:
    raise OSError(errno.EAGAIN, "Resource temporarily unavailable")


def no_fork() -> None:
    os.fork = refuse


def no_pidfd() -> None:
    os.pidfd_open = refuse


@pytest.mark.parametrize("broken", [no_fork, no_pidfd])
def test_a_start_without_a_process_is_an_error_and_the_guard_leaves(lab: Lab, broken: Callable[[], None]) -> None:
    with pytest.raises(GuardError, match="temporarily unavailable"):
        lab.guard({"launch": {"state": lab.record()}}, broken)
    record = lab.await_gone()
    assert (record["state"], record["ending"], record["pid"]) == ("crashed", "error", 0)
    assert "temporarily unavailable" in record["message"]
    assert record["ended"] > 0
    assert not os.path.exists(lab.folder.errors), "what only a running VMM needs is gone"


def test_a_vmm_that_cannot_be_followed_is_left_to_the_next_guard(lab: Lab) -> None:
    before = lab.running()
    with pytest.raises(GuardError, match="temporarily unavailable"):
        lab.guard({}, no_pidfd)
    record = lab.await_gone()
    assert (record["state"], record["pid"], record["ending"]) == ("running", before["pid"], "")
    assert os.path.exists(lab.folder.errors), "the VMM has its pipes still"
    assert lab.guard({})["state"]["pid"] == before["pid"]
    lab.sleeper.kill()
    assert lab.await_gone()["ending"] == "unknown"


def test_a_shortage_that_passes_is_waited_for(lab: Lab) -> None:
    before = lab.running()
    real, attempts = os.pidfd_open, iter(range(loop.ATTEMPTS))

    def refuse_at_first(pid: int) -> int:
        return real(pid) if next(attempts) == loop.ATTEMPTS - 1 else refuse()

    def short() -> None:
        os.pidfd_open = refuse_at_first  # type: ignore[assignment]

    assert lab.guard({}, short)["state"]["pid"] == before["pid"]


def test_a_vmm_that_is_gone_is_not_waited_for(lab: Lab) -> None:
    lab.running()
    lab.sleeper.kill()
    lab.sleeper.wait()
    assert lab.guard({})["state"]["ending"] == "unknown"
    assert lab.await_gone()["state"] == "crashed"
