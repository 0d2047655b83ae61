"""The screen: bhyve's handshake as recorded, a viewer that needs no password, bytes both ways."""

from __future__ import annotations

import socket
import threading

import pytest
from skep_helper.freebsd.bhyve import des, screen
from skep_helper.guard.loop import Future, Loop
from skep_helper.guard.protocol import GuardError

# From 15 of the recordings: (password, challenge, response) that bhyve accepted.
RECORDED = [
    (b"secret", "8969ffae5bcb04d8350a57a4502e2fea", "a8499ccd86182ab9854f20d7240521fe"),
    (b"secret12", "1576eff395c6fbaba5cfa9dc51cce5f1", "ee0f434f0fe532f9f034418417cd9c73"),
    (b"secret12345", "79aba5cf838c633b9d13065e4ed36a2b", "9e4bdd36bd6c16202a2365b5ee0920bf"),
]


def test_des() -> None:
    """FIPS 46-3's well-known example, and what bhyve took."""
    key, block = bytes.fromhex("133457799bbcdff1"), bytes.fromhex("0123456789abcdef")
    assert des.encrypt(key, block).hex() == "85e813540f0ab405"
    for password, challenge, response in RECORDED:
        assert des.respond(password, bytes.fromhex(challenge)).hex() == response
    assert des.respond(b"secret12345", bytes(16)) == des.respond(b"secret12", bytes(16)), "only 8 characters count"


class FakeBhyve:
    """bhyve's side: asks for a password if there is one, then sends back what it gets, in upper case."""

    def __init__(self, password: bytes | None) -> None:
        self.ours, self.theirs = socket.socketpair()
        self._password = password
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        link = self.ours
        link.sendall(screen.VERSION)
        assert self._take(12) == screen.VERSION
        link.sendall(bytes([1, 2 if self._password else 1]))
        kind = self._take(1)
        good = kind == bytes([2 if self._password else 1])
        if self._password:
            challenge = bytes(range(16))
            link.sendall(challenge)
            good = good and self._take(16) == des.respond(self._password, challenge)
        link.sendall(bytes([0, 0, 0, 0 if good else 1]))
        while data := link.recv(65536):
            link.sendall(data.upper())
        link.close()

    def _take(self, count: int) -> bytes:
        return self.ours.recv(count, socket.MSG_WAITALL)


@pytest.fixture
def loop() -> Loop:
    return Loop()


def opened(loop: Loop, bhyve: socket.socket, password: bytes) -> Future:
    made = screen.Screen(loop, bhyve, password)
    outcome = loop.start(made.open())
    outcome.then(lambda _: loop.stop())
    if not outcome.done:
        loop.run()
    threading.Thread(target=loop.run, daemon=True).start()
    return outcome


def greet(viewer: socket.socket, version: bytes) -> None:
    """A viewer's handshake, which must not ask for anything."""
    assert viewer.recv(12, socket.MSG_WAITALL) == screen.VERSION
    viewer.sendall(version)
    if version.endswith(b"003\n"):
        assert viewer.recv(4, socket.MSG_WAITALL) == bytes([0, 0, 0, 1])
        return
    assert viewer.recv(2, socket.MSG_WAITALL) == bytes([1, 1])
    viewer.sendall(bytes([1]))
    if version.endswith(b"008\n"):
        assert viewer.recv(4, socket.MSG_WAITALL) == bytes(4)


@pytest.mark.parametrize("version", [b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n"])
@pytest.mark.parametrize("password", [None, b"Xy3.5678"])
def test_a_viewer_needs_no_password(loop: Loop, version: bytes, password: bytes | None) -> None:
    bhyve = FakeBhyve(password)
    outcome = opened(loop, bhyve.theirs, b"Xy3.5678")
    assert outcome.error is None
    with socket.socket(fileno=outcome.value) as viewer:
        viewer.settimeout(60)
        greet(viewer, version)
        viewer.sendall(b"client init")
        assert viewer.recv(11, socket.MSG_WAITALL) == b"CLIENT INIT"
        sent = b"abc " * 200_000
        writer = threading.Thread(target=viewer.sendall, args=(sent,))
        writer.start()
        got = bytearray()
        while len(got) < len(sent):
            got += viewer.recv(65536)
        writer.join()
        assert got == sent.upper()
    bhyve.thread.join(60)
    assert not bhyve.thread.is_alive(), "bhyve learns that its viewer has left, and can serve the next"


def test_the_wrong_password(loop: Loop) -> None:
    outcome = opened(loop, FakeBhyve(b"right").theirs, b"wrong")
    assert isinstance(outcome.error, GuardError)
    assert "does not take the password" in outcome.error.message


def test_a_second_viewer_is_told(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """bhyve accepts it, and says nothing until the first has left."""
    monkeypatch.setattr(screen, "PATIENCE", 0.05)
    silent, theirs = socket.socketpair()
    outcome = opened(loop, theirs, b"x")
    assert isinstance(outcome.error, GuardError)
    assert outcome.error.code == "busy"
    assert silent.recv(1) == b"", "its connection is given up"


def test_bhyve_ends(loop: Loop) -> None:
    bhyve = FakeBhyve(None)
    outcome = opened(loop, bhyve.theirs, b"")
    with socket.socket(fileno=outcome.value) as viewer:
        viewer.settimeout(60)
        greet(viewer, screen.VERSION)
        bhyve.ours.shutdown(socket.SHUT_RDWR)
        assert viewer.recv(1) == b""
