"""The guest agent's protocol: JSON lines over the guest's virtio port (QEMU's docs/interop/qemu-ga-ref)."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from .loop import READ, Loop, Task
from .protocol import GuardError

DELIMITER = b"\xff"
MAX_ANSWER = 1 << 20
MOST_STALE = 1000
"""Answers that an earlier client may have left in the channel."""


def sync_request() -> tuple[int, bytes]:
    """A request that drops whatever an earlier client left in the channel, and the number it answers with."""
    number = int.from_bytes(os.urandom(4), "big") >> 1
    message = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
    return number, DELIMITER + json.dumps(message).encode() + b"\n"


def take_line(received: bytearray) -> Any:
    """Remove one whole answer and return it parsed; None as long as there is none. Bytes that are no JSON are
    remains of an earlier conversation. Raises GuardError(lost) for more bytes than any answer has."""
    while (end := received.find(b"\n")) >= 0:
        line = bytes(received[:end]).rsplit(DELIMITER, 1)[-1]
        del received[: end + 1]
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            continue
    if len(received) > MAX_ANSWER:
        raise GuardError("lost", "the guest agent writes without an end")
    return None


class Agent:
    """A conversation, a few seconds long; the port serves one at a time."""

    def __init__(self, loop: Loop, path: str) -> None:
        self._loop = loop
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._received = bytearray()

    def open(self, patience: float) -> Task:
        """Connect and make sure that somebody answers; raises GuardError(timeout) and OSError."""
        # Before connecting: QEMU serves one client at a time and the kernel makes the others wait, for ever.
        self._socket.setblocking(False)
        self._socket.connect(self._path)
        number, request = sync_request()
        self._socket.send(request)
        for _ in range(MOST_STALE):
            if (yield from self._answer(patience)).get("return") == number:
                return
        raise GuardError("lost", "the guest agent does not answer what it is asked")

    def call(self, command: str, patience: float) -> Task:
        """Returns what the agent returns; raises GuardError with its reason."""
        self._socket.send(json.dumps({"execute": command}).encode() + b"\n")
        answer = yield from self._answer(patience)
        if "error" in answer:
            error = answer["error"] if isinstance(answer["error"], dict) else {}
            raise GuardError("failed", f"guest agent: {error.get('desc', 'no reason given')!s:.1000}")
        return answer.get("return")

    def close(self) -> None:
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()

    def _answer(self, patience: float) -> Task:
        while (answer := take_line(self._received)) is None:
            yield self._loop.ready(self._socket.fileno(), READ, patience)
            data = self._socket.recv(65_536)
            if not data:
                raise GuardError("lost", "the guest agent's port closed")
            self._received += data
        return answer if isinstance(answer, dict) else {}
