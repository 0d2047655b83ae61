"""The guard's control protocol: one JSON object per packet on a SOCK_SEQPACKET Unix socket, descriptors beside it.

Only root reaches the socket (its folder is root's alone). A guard lives as long as its guest, through upgrades of
the helper, so this protocol only ever grows: new operations and new optional keys, never another meaning.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

VERSION = 2
"""2: the operation console takes an offset and answers with one."""
MAX_MESSAGE = 256 * 1024
MAX_DESCRIPTORS = 250
"""Linux passes at most 253 in one message."""


class GuardError(Exception):
    """Something that the guard or the spawner could not do. code: as in skepd.host.HostError."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def send(connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message; raises OSError."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MAX_MESSAGE or len(descriptors) > MAX_DESCRIPTORS:
        raise GuardError("rejected", f"a message of {len(data)} bytes and {len(descriptors)} descriptors is too large")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_MESSAGE)
    if descriptors:
        socket.send_fds(connection, [data], list(descriptors))
    else:
        connection.send(data)


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Receive one message and its descriptors (close-on-exec); None at the end of the connection."""
    numbers = array.array("i")
    # Not socket.recv_fds: it drops its flags, and what it receives would leak into every program started meanwhile.
    data, ancillary, flags, _ = connection.recvmsg(
        MAX_MESSAGE, socket.CMSG_SPACE(MAX_DESCRIPTORS * numbers.itemsize), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
    )
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    descriptors = numbers.tolist()
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise GuardError("rejected", "a message was cut short")
        message = json.loads(data) if data else None
        if message is not None and not isinstance(message, dict):
            raise GuardError("rejected", "a message is a JSON object")
    except (ValueError, RecursionError, GuardError) as error:
        for descriptor in descriptors:
            os.close(descriptor)
        raise error if isinstance(error, GuardError) else GuardError("rejected", f"not JSON: {error}") from None
    return message, descriptors


def answer_of(message: dict[str, Any] | None) -> dict[str, Any]:
    """The answer in a received message; raises GuardError when it is an error or the other side went away."""
    if message is None:
        raise GuardError("lost", "the guard went away before it answered")
    if "error" in message:
        raise GuardError(str(message["error"]), str(message.get("message", "")))
    return message
