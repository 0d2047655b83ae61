"""Messages, descriptors, and what the lock and the state file tell."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from skep_helper.guard import protocol, state
from skep_helper.guard.protocol import GuardError


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def test_a_message_carries_descriptors_that_do_not_leak_into_programs() -> None:
    ours, theirs = pair()
    with ours, theirs, open(os.devnull) as file:
        protocol.send(ours, {"op": "x", "text": "ü" * 1000}, [file.fileno()])
        message, (descriptor,) = protocol.receive(theirs)
        assert message == {"op": "x", "text": "ü" * 1000}
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


def test_the_end_and_nonsense() -> None:
    ours, theirs = pair()
    with theirs:
        for data in (b"[1]", b"{", b"\xff", b"[" * 50_000):
            ours.send(data)
            with pytest.raises(GuardError):
                protocol.receive(theirs)
        ours.close()
        assert protocol.receive(theirs) == (None, [])
        with pytest.raises(GuardError, match="went away"):
            protocol.answer_of(None)


def test_errors_keep_their_code() -> None:
    with pytest.raises(GuardError) as raised:
        protocol.answer_of({"error": "busy", "message": "somebody writes"})
    assert (raised.value.code, raised.value.message) == ("busy", "somebody writes")


def test_a_large_command_line_fits() -> None:
    ours, theirs = pair()
    with ours, theirs:
        argv = ["x" * 100] * 1500
        protocol.send(ours, {"argv": argv})
        message, _ = protocol.receive(theirs)
        assert message == {"argv": argv}
        with pytest.raises(GuardError, match="too large"):
            protocol.send(ours, {"argv": argv * 2})


def test_state_and_lock(tmp_path: Path) -> None:
    folder = state.Folder(str(tmp_path), "files")
    assert state.read(folder) is None
    assert not state.guarded(folder)
    folder.make()
    folder.make()
    assert os.stat(folder.path).st_mode & 0o777 == 0o700
    assert os.stat(folder.serial).st_mode & 0o777 == 0o711
    state.write(folder, {"state": "running"})
    assert state.read(folder) == {"state": "running"}
    Path(folder.state).write_text("{")
    assert state.read(folder) is None
    lock = state.acquire(folder)
    assert lock is not None
    assert state.guarded(folder)
    assert state.acquire(folder) is None
    os.close(lock)
    assert not state.guarded(folder)
