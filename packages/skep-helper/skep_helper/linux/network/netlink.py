"""Netlink as Python: a socket that belongs to the stack it was opened in, messages out, answers or an error back.

Only what the network part needs. Numbers are those of the kernel's uapi headers (linux/netlink.h).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

ROUTE = 0
NETFILTER = 12

REQUEST, ACK, ROOT_AND_MATCH = 0x1, 0x4, 0x300
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
ERROR, DONE = 2, 3
NESTED = 0x8000

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 1 << 18


@dataclass(frozen=True)
class Message:
    kind: int
    body: bytes


class NetlinkError(OSError):
    """The kernel refused a message. errno as usual; the text is the kernel's own where it gives one."""


def attribute(kind: int, value: bytes | int | str) -> bytes:
    """One attribute, padded. A number is 32 bits of the host's order, a text ends with a zero byte."""
    if isinstance(value, int):
        value = struct.pack("=I", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(attributes))


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes in data from offset on; of several of one kind the last."""
    found: dict[int, bytes] = {}
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


class Netlink:
    """A netlink socket in the calling thread's stack; usable from any thread, one at a time."""

    def __init__(self, protocol: int = ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        self._socket.settimeout(30)  # the kernel answers at once; this only keeps a bug from blocking the helper
        self._socket.setsockopt(270, 11, 1)  # SOL_NETLINK, NETLINK_EXT_ACK: reasons as text
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *unused: object) -> None:
        self._socket.close()

    def request(self, kind: int, flags: int, body: bytes) -> None:
        """Send one message and wait until the kernel has done it; raises NetlinkError."""
        for _ in self._exchange(kind, flags | ACK, body):
            pass

    def dump(self, kind: int, body: bytes) -> list[Message]:
        """Everything of a kind. Raises NetlinkError."""
        return list(self._exchange(kind, ROOT_AND_MATCH, body))

    def _exchange(self, kind: int, flags: int, body: bytes) -> Iterator[Message]:
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags | REQUEST, self._sequence, 0) + body)
        while True:
            data = self._socket.recv(_BUFFER)
            offset = 0
            while offset < len(data):
                length, answer, answer_flags, sequence, _ = _HEADER.unpack_from(data, offset)
                payload = data[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3
                if sequence != self._sequence:
                    continue  # the rest of an exchange that was given up
                if answer in (ERROR, DONE):
                    _raise_error(answer, answer_flags, payload)
                    return
                yield Message(answer, payload)


def _raise_error(answer: int, flags: int, payload: bytes) -> None:
    number = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
    if number <= 0:
        return
    text = os.strerror(number)
    if answer == ERROR and flags & 0x200:  # NLM_F_ACK_TLVS: attributes follow the (capped or whole) message
        request_length = struct.unpack_from("=I", payload, 4)[0]
        start = 4 + (_HEADER.size if flags & 0x100 else (request_length + 3) & ~3)
        reason = attributes(payload, start).get(1, b"").rstrip(b"\0").decode(errors="replace")
        text = f"{reason} ({text})" if reason else text
    raise NetlinkError(number, text)
