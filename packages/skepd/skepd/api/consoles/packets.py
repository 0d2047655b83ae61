"""JSON messages with descriptors beside them, over a SOCK_SEQPACKET unix socket on an event loop.

The same at both ends of the line between skepd and its gateways.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

MOST_BYTES = 60_000
"""Of one message; systems differ in how much more they would take."""
MOST_DESCRIPTORS = 4
MOST_WAITING = 4096
"""Messages for a peer that does not read. One that lets them come to more is cut off."""
_BUFFER = 256 * 1024

Message = dict[str, Any]


class TooLong(Exception):
    """A message that is not sent; the connection is as it was."""


class Packets:
    """One connection. received(message, descriptors): the descriptors are its own then. lost(): called once, at the
    end. Belongs to the running loop."""

    def __init__(
        self, connection: socket.socket, received: Callable[[Message, list[int]], None], lost: Callable[[], None]
    ) -> None:
        self._socket = connection
        self._received = received
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self.closed = False
        connection.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        self._loop.add_reader(connection.fileno(), self._read)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send, or keep until the peer reads. The descriptors are this object's from now on. Raises TooLong."""
        data = json.dumps(message, separators=(",", ":")).encode()
        if len(data) > MOST_BYTES:
            _close_all(descriptors)
            raise TooLong(f"a message of {len(data)} bytes is too long; {MOST_BYTES} is the most")
        if self.closed or len(self._waiting) >= MOST_WAITING:
            _close_all(descriptors)
            self.close()
            return
        self._waiting.append((data, tuple(descriptors)))
        if len(self._waiting) == 1:
            self._write()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for _, descriptors in self._waiting:
            _close_all(descriptors)
        self._waiting.clear()
        self._lost()

    def _write(self) -> None:
        while self._waiting:
            data, descriptors = self._waiting[0]
            try:
                if descriptors:
                    socket.send_fds(self._socket, [data], list(descriptors))
                else:
                    self._socket.send(data)
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._write)
                return
            except OSError:
                self.close()
                return
            self._waiting.popleft()
            _close_all(descriptors)
        self._loop.remove_writer(self._socket.fileno())

    def _read(self) -> None:
        try:
            received = receive(self._socket)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            received = None
        if received is None:
            self.close()
        else:
            self._received(*received)


def receive(connection: socket.socket) -> tuple[Message, list[int]] | None:
    """One message and its descriptors (close-on-exec), None at the end. Raises OSError, ValueError for nonsense."""
    numbers = array.array("i")
    data, ancillary, flags, _ = connection.recvmsg(
        _BUFFER, socket.CMSG_SPACE(MOST_DESCRIPTORS * numbers.itemsize), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
    )
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    descriptors = numbers.tolist()
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("a message was cut short")
        message = json.loads(data) if data else None
        if not isinstance(message, dict | None):
            raise ValueError("a message is a JSON object")
    except (ValueError, RecursionError) as error:
        _close_all(descriptors)
        raise ValueError(f"no message: {error}") from None
    if message is None:
        _close_all(descriptors)
        return None
    return message, descriptors


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
