"""The one door for processes: what comes of a tool that does not end, and of one that cannot be made to."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from skep_helper import processes, run
from skep_helper.handlers import Failure


def test_a_tools_output_and_its_words() -> None:
    assert run.run(["cat"], b"x" * 300_000) == b"x" * 300_000
    with pytest.raises(Failure, match=r"^cat: .*none.*\(exit 1\)"):
        run.run(["cat", "/none"])
    with pytest.raises(Failure, match="not installed"):
        run.run(["skep-no-such-tool"])


def test_a_tool_that_does_not_end_is_killed() -> None:
    with pytest.raises(Failure, match=r"^sleep did not end within 0 s$") as late:
        run.run(["sleep", "3600"], timeout=0.2)
    assert late.value.code == "timeout"
    assert not processes._abandoned


def test_what_a_tool_left_running_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was killed, and a process that it began still has its output."""
    monkeypatch.setattr(processes, "_KILLED", 0.2)
    with pytest.raises(Failure, match=r"^sh did not end within 0 s$"):
        run.run(["sh", "-c", "sleep 30 & wait"], timeout=0.2)


def test_a_tool_that_cannot_be_killed_is_named_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `ifconfig tap0 destroy` of an open tap is on FreeBSD: no signal reaches it."""
    monkeypatch.setattr(processes, "_KILLED", 0.2)
    with monkeypatch.context() as patched:
        patched.setattr(subprocess.Popen, "kill", lambda process: None)
        with pytest.raises(Failure, match=r"sleep did not end .* process \d+ \(sleep 3600\) cannot be killed") as late:
            run.run(["sleep", "3600"], timeout=0.2)
    (process,) = processes._abandoned
    assert (late.value.code, f"process {process.pid} " in late.value.message) == ("timeout", True)
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    run.run(["true"])
    assert not processes._abandoned, "once it is gone it is no zombie"
