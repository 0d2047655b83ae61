"""WebSocket frames (RFC 6455) of a server: a short path of our own, for bytes that pass by in large numbers.

The handshake is wsproto's; no extension is agreed on, so a frame is a header and its payload.
"""

from __future__ import annotations

import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NORMAL, WRONG, NOT_TEXT, TOO_LONG = 1000, 1002, 1007, 1009
_DATA = frozenset((CONTINUATION, TEXT, BINARY))
_CONTROL = frozenset((CLOSE, PING, PONG))
_MAY_BE_SENT = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))

Message = tuple[int, bytes]
"""Opcode and payload: TEXT and BINARY whole, the control frames as they are."""


class Violation(Exception):
    """The peer broke the protocol. code: to close with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def header(opcode: int, length: int) -> bytes:
    """Of a frame that is a whole message."""
    if length < 126:
        return bytes((0x80 | opcode, length))
    if length < 65_536:
        return struct.pack(">BBH", 0x80 | opcode, 126, length)
    return struct.pack(">BBQ", 0x80 | opcode, 127, length)


def frame(opcode: int, payload: bytes) -> bytes:
    return header(opcode, len(payload)) + payload


def close_frame(code: int, reason: str) -> bytes:
    return frame(CLOSE, struct.pack(">H", code) + reason.encode()[:123].decode(errors="ignore").encode())


def unmask(payload: bytes, mask: bytes) -> bytes:
    """The XOR of both, the mask over and over: as one large number, which is the fastest that Python has."""
    length = len(payload)
    key = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(length, "little")


class Messages:
    """Finds a client's messages in its bytes. limit: of one message; so much is buffered, and what comes at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._kind = 0
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now. Raises Violation; nothing is fed after that."""
        buffer = self._buffer
        buffer += data
        found: list[Message] = []
        at = 0
        while True:
            start, length = self._head(at)
            end = start + length
            if not start or end > len(buffer):
                break
            payload = unmask(bytes(buffer[start:end]), bytes(buffer[start - 4 : start])) if length else b""
            message = self._take(buffer[at], payload)
            if message is not None:
                found.append(message)
            at = end
        del buffer[:at]
        return found

    def _head(self, at: int) -> tuple[int, int]:
        """Where the payload of the frame at `at` begins, and its length; 0 when the header is not complete."""
        buffer = self._buffer
        there = len(buffer) - at
        if there < 2:
            return 0, 0
        first, second = buffer[at], buffer[at + 1]
        opcode, length, start = first & 0x0F, second & 0x7F, at + 6
        if first & 0x70 or (opcode not in _DATA and opcode not in _CONTROL):
            raise Violation(WRONG, "a reserved bit or an unknown opcode")
        if not second & 0x80:
            raise Violation(WRONG, "a client's frame is masked")
        if opcode in _CONTROL and (length > 125 or not first & 0x80):
            raise Violation(WRONG, "a control frame is short and whole")
        if length == 126:
            if there < 4:
                return 0, 0
            length, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 8
        elif length == 127:
            if there < 10:
                return 0, 0
            length, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 14
        if length + self._size > self._limit:
            raise Violation(TOO_LONG, f"a message has {self._limit} bytes at most")
        return (start, length) if len(buffer) >= start else (0, 0)

    def _take(self, first: int, payload: bytes) -> Message | None:
        """One frame; returns the message that it ends."""
        opcode, final = first & 0x0F, first & 0x80
        if opcode in _CONTROL:
            return opcode, payload
        if (opcode == CONTINUATION) != bool(self._kind):
            raise Violation(WRONG, "a message is continued that was not begun, or begun while another one goes on")
        if opcode and final:
            return self._whole(opcode, payload)
        self._kind = self._kind or opcode
        self._parts.append(payload)
        self._size += len(payload)
        if len(self._parts) > 4096:
            raise Violation(TOO_LONG, "a message in too many pieces")
        if not final:
            return None
        kind, whole = self._kind, b"".join(self._parts)
        self._kind, self._size = 0, 0
        self._parts.clear()
        return self._whole(kind, whole)

    @staticmethod
    def _whole(kind: int, payload: bytes) -> Message:
        if kind == TEXT:
            try:
                payload.decode()
            except UnicodeDecodeError:
                raise Violation(NOT_TEXT, "a text message is UTF-8") from None
        return kind, payload


def close_code(payload: bytes) -> int:
    """What to answer to a close frame with this payload. Raises Violation when it says nonsense."""
    if not payload:
        return NORMAL
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or code not in _MAY_BE_SENT:
        raise Violation(WRONG, "this is no code to close with")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise Violation(NOT_TEXT, "a reason is UTF-8") from None
    return code
