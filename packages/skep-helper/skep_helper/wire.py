"""The protocol between skepd and the helper: frames of JSON with descriptors, over a Unix stream socket.

A frame is a length (4 bytes, big-endian) and that many bytes of JSON; descriptors come with its bytes (SCM_RIGHTS).

    request   {"id": 7, "requests": [{"type": ...}, ...]}         id: 1 to 1024, chosen by the client
    progress  {"id": 7, "index": 0, "progress": [done, total]}    any number of them
    answer    {"id": 7, "answers": [...]}                         one for each request, null where it has none
    failure   {"id": 7, "answers": [...], "failed": 1, "code": "busy", "message": "..."}
              the requests before number 1 are done, that one is not, those after it were not tried

While a request is under way a connection takes nothing but Cancel. This module is all that both sides share.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .vocabulary.fields import Rejected

VERSION = 1
REQUEST_LIMIT = 8 << 20
ANSWER_LIMIT = 64 << 20
MOST_DESCRIPTORS = 4
_LENGTH = struct.Struct(">I")
_CHUNK = 256 << 10
_INTEGER = struct.calcsize("i")


class Closed(Exception):
    """The other side closed the connection, or what it sends is no frame."""


@dataclass(frozen=True)
class Frame:
    """One frame as it came. surplus: more descriptors came than may come; they are closed already."""

    data: bytes
    descriptors: tuple[int, ...] = ()
    surplus: bool = False

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


class Reader:
    """Reads frames from a socket, blocking or not. Never reads beyond a frame, so that descriptors belong to the
    frame they came with."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._length = -1
        self._descriptors: list[int] = []
        self._surplus = False

    def read(self, connection: socket.socket) -> Frame | None:
        """One recvmsg; the frame if it is complete now. Raises Closed, BlockingIOError, OSError."""
        total = _LENGTH.size if self._length < 0 else self._length
        space = socket.CMSG_SPACE(MOST_DESCRIPTORS * _INTEGER)
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        data, ancillary, got, _ = connection.recvmsg(min(total - len(self._buffer), _CHUNK), space, flags)
        self._take(ancillary, bool(got & socket.MSG_CTRUNC))
        if not data:
            raise Closed("the connection was closed")
        self._buffer += data
        if len(self._buffer) < total:
            return None
        if self._length < 0:
            (self._length,) = _LENGTH.unpack(self._buffer)
            self._buffer.clear()
            if not 0 < self._length <= self._limit:
                raise Closed(f"a frame of {self._length} bytes; the most is {self._limit}")
            return None
        frame = Frame(bytes(self._buffer), tuple(self._descriptors), self._surplus)
        self._buffer, self._length = bytearray(), -1
        self._descriptors, self._surplus = [], False
        return frame

    def _take(self, ancillary: list[tuple[int, int, bytes]], cut: bool) -> None:
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                count = len(data) // _INTEGER
                self._descriptors += struct.unpack_from(f"{count}i", data)
        for descriptor in self._descriptors:
            os.set_inheritable(descriptor, False)
        if cut or len(self._descriptors) > MOST_DESCRIPTORS:
            self._surplus = True
            self.close()

    def close(self) -> None:
        """Close the descriptors of a frame that never became complete."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []


class Writer:
    """Frames on their way out. Owns their descriptors: closes each once it is sent, or when the writer is closed."""

    def __init__(self) -> None:
        self._queue: list[tuple[memoryview, tuple[int, ...]]] = []
        self.pending = 0

    def add(self, message: Any, descriptors: Sequence[int] = ()) -> None:
        """Queue a message of JSON types."""
        self.add_frame(pack(message), descriptors)

    def add_frame(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Queue what ``frame`` made."""
        self._queue.append((memoryview(data), tuple(descriptors)))
        self.pending += len(data)

    def write(self, connection: socket.socket) -> None:
        """Send as much as the socket takes; raises BlockingIOError when it takes no more, OSError when it is gone."""
        while self._queue:
            data, descriptors = self._queue[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))]
            sent = connection.sendmsg([data[:_CHUNK]], ancillary if descriptors else [])
            for descriptor in descriptors:
                os.close(descriptor)
            self.pending -= sent
            if sent < len(data):
                self._queue[0] = (data[sent:], ())
            else:
                del self._queue[0]

    def close(self) -> None:
        for _, descriptors in self._queue:
            for descriptor in descriptors:
                os.close(descriptor)
        self._queue, self.pending = [], 0


def pack(message: Any) -> bytes:
    """A message of JSON types as a frame."""
    return frame(text_of(message))


def text_of(value: Any) -> bytes:
    """A value of JSON types as it goes over the wire."""
    return json.dumps(value, separators=(",", ":")).encode()


def frame(data: bytes) -> bytes:
    """JSON text as a frame; raises Rejected for more than ANSWER_LIMIT bytes."""
    if len(data) > ANSWER_LIMIT:
        raise Rejected(f"a message of {len(data)} bytes is too large")
    return _LENGTH.pack(len(data)) + data


def peer_uid(connection: socket.socket) -> int:
    """The effective uid of whoever connected, as the kernel knows it; raises OSError."""
    if hasattr(socket, "SO_PEERCRED"):
        return ucred_uid(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return xucred_uid(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_SIZE))


# Linux: struct ucred {pid_t pid; uid_t uid; gid_t gid}.
_UCRED = struct.Struct("iII")
# FreeBSD: struct xucred {u_int cr_version; uid_t cr_uid; short cr_ngroups; gid_t cr_groups[16]; pid_t in a union}.
_XUCRED = struct.Struct("@IIh")
_XUCRED_SIZE, _XUCRED_VERSION = 256, 0
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1


def ucred_uid(data: bytes) -> int:
    _, uid, _ = _UCRED.unpack(data)
    return int(uid)


def xucred_uid(data: bytes) -> int:
    """Raises OSError when the kernel answers with another version of the structure."""
    version, uid, _ = _XUCRED.unpack_from(data)
    if version != _XUCRED_VERSION:
        raise OSError(f"struct xucred has version {version}, known is {_XUCRED_VERSION}")
    return int(uid)
