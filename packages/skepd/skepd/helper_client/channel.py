"""One connection to the helper: a batch of requests at a time, which another thread may cancel."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skep_helper import codec, wire
from skep_helper.vocabulary import Cancel

from skepd.host import Progress

_LAST_ID = 1000
_CANCEL_ID = 1024


@dataclass(frozen=True)
class Reply:
    """How a batch ended. failed: the number of the request that failed, -1 when none did."""

    answers: tuple[Any, ...]
    descriptors: tuple[int, ...]
    failed: int = -1
    code: str = ""
    message: str = ""


class Channel:
    """Raises wire.Closed or OSError when the helper is gone; then the channel is of no more use."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._reader = wire.Reader(wire.ANSWER_LIMIT)
        self._sending = threading.Lock()
        self._identity = 0
        try:
            self._socket.connect(path)
        except BaseException:
            self._socket.close()
            raise

    def is_alive(self) -> bool:
        """Whether an idle connection still has somebody at the other end."""
        try:
            # The answer to a Cancel that came too late may wait here; the next exchange skips it.
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def send(self, requests: Sequence[Any], descriptor: int | None = None) -> None:
        """descriptor: goes along; the caller keeps his."""
        self._identity = self._identity % _LAST_ID + 1
        self._send(self._identity, requests, descriptor)

    def _send(self, identity: int, requests: Sequence[Any], descriptor: int | None = None) -> None:
        data = wire.pack({"id": identity, "requests": [codec.encode(request) for request in requests]})
        with self._sending:
            # Some systems take a descriptor with few bytes only.
            sent = 0 if descriptor is None else socket.send_fds(self._socket, [data[:1]], [descriptor])
            self._socket.sendall(data[sent:])

    def receive(self, progress: Progress | None) -> Reply:
        """Wait for the end of the batch that was sent; the caller owns the descriptors."""
        while True:
            frame = self._reader.read(self._socket)
            if frame is None:
                continue
            try:
                message = json.loads(frame.data)
                if message["id"] not in (self._identity, 0):
                    frame.close()
                elif "progress" in message:
                    if progress:
                        progress(*message["progress"])
                else:
                    return _reply(message, frame.descriptors)
            except BaseException:
                frame.close()
                raise

    def cancel(self) -> None:
        """From any thread: end the long request that is under way."""
        self._send(_CANCEL_ID, [Cancel(request=self._identity)])

    def close(self) -> None:
        self._reader.close()
        # A thread that waits in receive wakes up.
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
        finally:
            self._socket.close()


def _reply(message: dict[str, Any], descriptors: tuple[int, ...]) -> Reply:
    answers = tuple(codec.decode_any(answer) for answer in message["answers"])
    if "failed" not in message:
        return Reply(answers, descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    return Reply(answers, (), message["failed"], message["code"], message["message"])
