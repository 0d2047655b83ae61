"""A pool, a run folder and the handlers for guests, for tests with real QEMU. The guest is OVMF's own shell."""

from __future__ import annotations

import base64
import contextlib
import os
import select
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skep_helper.guard import spawning, state
from skep_helper.handlers import Context
from skep_helper.linux import guests
from skep_helper.linux.storage import layout
from skep_helper.policy import Policy
from skep_helper.vocabulary.guest import (
    GuestReading,
    GuestSpec,
    OpenConsole,
    ReadConsole,
    ReadGuests,
    StartGuest,
    StopGuest,
)

SAFETY = 120.0
DIGEST = "0123456789abcdef"


class Lab:
    def __init__(self, base: Path) -> None:
        self.policy = Policy(pool=base / "pool", run=base / "run", log=base / "log", user="daemon", group="daemon")
        layout.prepare(self.policy)
        self.handlers = dict(guests.HANDLERS)

    def define(self, name: str) -> None:
        with layout.pool_folder(self.policy, "guests") as folder:
            folder.make(name, 0o750).close()

    def do(self, request: Any) -> Any:
        return self.handlers[type(request)](Context(policy=self.policy, peer_uid=0), request)

    def open(self, request: Any) -> socket.socket:
        context = Context(policy=self.policy, peer_uid=0)
        self.handlers[type(request)](context, request)
        (descriptor,) = context.answer_descriptors
        connection = socket.socket(fileno=descriptor)
        connection.settimeout(SAFETY)
        return connection

    def start(self, name: str, **options: Any) -> GuestReading:
        self.define(name)
        options = {"memory": 128 << 20, "digest": DIGEST, "screen": False, "agent": False, **options}
        reading = self.do(StartGuest(guest=GuestSpec(name=name, **options)))
        assert isinstance(reading, GuestReading)
        return reading

    def reading(self, name: str) -> GuestReading:
        return next(item for item in self.do(ReadGuests()) if item.name == name)

    def record(self, name: str) -> dict[str, Any]:
        """The guard's own state file."""
        record = state.read(state.Folder(str(self.policy.run), name))
        assert record is not None
        return record

    def serial(self, name: str, offset: int = 0) -> bytes:
        return base64.b64decode(self.do(ReadConsole(guest=name, offset=offset, length=1 << 20))["data"])

    def until(self, condition: Any) -> Any:
        """Wait for a condition; the limit is a safety net for a broken build."""
        end = time.monotonic() + SAFETY
        while not (value := condition()):
            assert time.monotonic() < end, "it did not come"
            time.sleep(0.05)
        return value

    def shell(self, name: str) -> socket.socket:
        """A console whose UEFI shell waits for commands."""
        console = self.open(OpenConsole(guest=name))
        self.until(lambda: b"Press" in self.serial(name))
        console.sendall(b"\x1b")
        expect(console, b"Shell>")
        return console

    def kill_guard(self, name: str) -> int:
        """Kill a guest's guard; returns once it is gone."""
        guard = self.record(name)["guard"]
        os.kill(guard, signal.SIGKILL)
        folder = state.Folder(str(self.policy.run), name)
        self.until(lambda: not state.guarded(folder))
        return int(guard)

    def close(self) -> None:
        for reading in self.do(ReadGuests()):
            self.do(StopGuest(guest=reading.name, timeout=0))
        spawning.stop()


def expect(console: socket.socket, text: bytes) -> bytes:
    """Read a console until a text comes."""
    seen = b""
    while text not in seen:
        assert select.select([console], [], [], SAFETY)[0], f"{text!r} did not come after {seen[-500:]!r}"
        data = console.recv(65_536)
        assert data, f"the console closed after {seen[-500:]!r}"
        seen += data
    return seen


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """Short paths, because those of Unix sockets are limited to 108 bytes."""
    base = Path(tempfile.mkdtemp(prefix="skep-guests-"))
    os.chmod(base, 0o755)
    made = Lab(base)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(base)
