"""The process that enters a jail: what it hands back, whatever becomes of it. (Entering itself needs FreeBSD.)"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from skep_helper.freebsd.network import records, system
from skep_helper.freebsd.network.records import PortRecord, Records, locked
from skep_helper.freebsd.network.system import System
from skep_helper.handlers import Failure
from skep_helper.policy import Policy
from skep_helper.vocabulary import PortSpec, Rejected


class Outside(System):
    """Enters no jail."""

    def _attached(self, jid: int, work: Callable[[], Any]) -> Any:
        if jid == 0:
            raise OSError(22, "entering jail 0: Invalid argument")
        return work()


def failing(error: BaseException) -> Callable[[], Any]:
    def work() -> None:
        raise error

    return work


def test_an_answer_comes_back_from_another_process() -> None:
    process, answer = Outside().enter(1, lambda: [os.getpid(), {"a": [1, "x" * 200_000]}])
    assert process != os.getpid()
    assert answer == {"a": [1, "x" * 200_000]}


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (Failure("busy", "in use"), Failure, "in use"),
        (Rejected("no"), Rejected, "no"),
        (FileExistsError(17, "File exists"), FileExistsError, "File exists"),
        (ZeroDivisionError("by zero"), Failure, "ZeroDivisionError: by zero"),
    ],
)
def test_an_error_comes_back(error: Exception, raised: type[Exception], words: str) -> None:
    with pytest.raises(raised, match=words):
        Outside().enter(1, failing(error))


def test_a_failure_keeps_its_code() -> None:
    with pytest.raises(Failure) as caught:
        Outside().enter(1, failing(Failure("busy", "in use")))
    assert caught.value.code == "busy"


def test_a_jail_that_is_not_there() -> None:
    with pytest.raises(OSError, match="entering jail 0"):
        Outside().enter(0, lambda: None)


def test_a_process_that_is_killed() -> None:
    with pytest.raises(Failure, match="ended in a jail"):
        Outside().enter(1, lambda: os._exit(9))


def test_nothing_of_the_process_is_left() -> None:
    """Tried in a process of its own: others of this run have children and descriptors that come and go."""
    child = os.fork()
    if child == 0:
        before = os.listdir("/dev/fd")
        Outside().enter(1, lambda: None)
        same = os.listdir("/dev/fd") == before
        try:
            os.waitpid(-1, os.WNOHANG)
            alone = False
        except ChildProcessError:
            alone = True
        os._exit(0 if same and alone else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_work_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "ENTERED", 0.1)
    with pytest.raises(Failure, match="jail 1 was not done within") as caught:
        Outside().enter(1, signal.pause)
    assert caught.value.code == "timeout"


def test_work_that_cannot_even_be_killed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a call about an interface can: here no signal is sent."""
    killed: list[int] = []
    monkeypatch.setattr(system, "ENTERED", 0.1)
    monkeypatch.setattr(system, "_LOOKS", 2)
    with monkeypatch.context() as patched:
        patched.setattr(system.os, "kill", lambda process, number: killed.append(process))
        with pytest.raises(Failure, match=r"hangs in the kernel, in jail 1.*procstat -kk") as caught:
            Outside().enter(1, signal.pause)
    assert (caught.value.code, f"process {killed[0]} " in caught.value.message) == ("timeout", True)
    os.kill(killed[0], signal.SIGKILL)
    os.waitpid(killed[0], 0)


def test_who_waits_in_vain_is_told_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "TURN", 0.1)
    policy = Policy(run=tmp_path)
    with locked(policy, "ApplyPort g.n0"):
        words = f"RemovePort.*ApplyPort g.n0, process {os.getpid()}"
        with pytest.raises(Failure, match=words) as caught, locked(policy, "RemovePort g.n1"):
            raise AssertionError("two at once")
        assert caught.value.code == "busy"
    with locked(policy, "RemovePort g.n1"):
        assert (tmp_path / "networks/lock").read_text().startswith("RemovePort")


def test_records_are_written_by_one_at_a_time(tmp_path: Path) -> None:
    """A second process waits for the lock, so it sees what the first one wrote."""
    policy, digest = Policy(run=tmp_path), "0123456789abcdef"
    spec = PortSpec(name="g.n0", network="n", digest=digest, rules_digest=digest, mac="02:00:00:00:00:05")
    ready_read, ready_write = os.pipe()

    def second() -> str:
        os.write(ready_write, b"1")
        with locked(policy, "a test"):
            found = Records(policy).port("g.n0")
            return "" if found is None else found.device

    with locked(policy, "a test"):
        process = os.fork()
        if process == 0:
            os._exit(0 if second() == "tap7" else 1)
        os.read(ready_read, 1)
        Records(policy).save(PortRecord(spec, "skp0", device="tap7"))
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


@pytest.mark.parametrize("size", [80, 84, 96])
@pytest.mark.parametrize("count", [0, 1, 21, 40])
def test_members_of_a_bridge_whatever_the_size_of_a_record(size: int, count: int) -> None:
    names = [f"tap{number}" for number in range(count)]
    data = b"".join(name.encode().ljust(16, b"\0") + b"\1" * (size - 16) for name in names)
    assert system.split_members(data, {*names, "em0"}) == names


def test_members_that_cannot_be_told() -> None:
    with pytest.raises(OSError, match="not known here"):
        system.split_members(b"\1" * 80, {"em0"})
