"""A WebSocket on the transport itself: wsproto's handshake, then frames of our own (`frames`), paced by both sides.

Made by uvicorn in place of its own protocol, for the paths of consoles.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, RejectData, Request
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from skepd.api.subprotocol import SUBPROTOCOL

from .frames import BINARY, CLOSE, PING, PONG, TEXT, Messages, Violation, close_code, close_frame, frame, header

LONGEST = 1 << 20
"""Bytes of a message from a browser."""
HIGH_WATER = 256 * 1024
"""Bytes that wait for a browser before its guest's line is not read any more."""
LINGER = 5.0
"""Seconds for the browser's side of a close."""
RESTARTING, FAULT = 1012, 1011
log = logging.getLogger("skepd.gateway")

Serve = Callable[["Socket"], Coroutine[Any, Any, None]]


class Shared:
    """A buffer that bytes of many lines are received into, with room before them for the header of a frame."""

    HEAD = 10
    COPIED = sys.version_info < (3, 12)
    """Whether a transport without TLS copies what it could not send at once; else it keeps what it was given."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._renew()

    def _renew(self) -> None:
        self._length = self._start = -1
        self._whole = memoryview(bytearray(self.HEAD + self._size))
        self.room = self._whole[self.HEAD :]

    def write(self, transport: asyncio.Transport, length: int, *, tls: bool) -> None:
        """Send the first bytes as one binary message. What may be kept of them is not written over."""
        if length != self._length:
            head = header(BINARY, length)
            self._length, self._start = length, self.HEAD - len(head)
            self._whole[self._start : self.HEAD] = head
        transport.write(self._whole[self._start : self.HEAD + length])
        if (tls or not self.COPIED) and transport.get_write_buffer_size():
            self._renew()


class Socket(asyncio.Protocol):
    """One WebSocket. serve(socket): runs from the request on; accepts or rejects it. host: as the browser sent it.

    on_message(opcode, payload), on_writable(whether), on_closed(): set by whoever accepts.
    """

    def __init__(self, serve: Serve, server_state: Any, host: str) -> None:
        self.host = host
        self._serve = serve
        self._state = server_state
        self._handshake: WSConnection | None = WSConnection(ConnectionType.SERVER)
        self._messages = Messages(LONGEST)
        self._transport: asyncio.Transport | None = None
        self._early = b""
        self._pinged: bytes | None = None
        self._accepted = self._closing = self._tls = False
        self._task: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self.heard = time.monotonic()
        self.request: Request | None = None
        self.gone = False
        self.on_message: Callable[[int, bytes], None] = _ignore
        self.on_writable: Callable[[bool], None] = _ignore
        self.on_closed: Callable[[], None] = _ignore

    # --- what it is ---

    @property
    def open(self) -> bool:
        return self._accepted and not self._closing and not self.gone

    @property
    def peer(self) -> str:
        name = self._transport.get_extra_info("peername") if self._transport else None
        return str(name[0]) if isinstance(name, tuple) else ""

    @property
    def scheme(self) -> str:
        return "https" if self._tls else "http"

    # --- handshake ---

    def accept(self) -> None:
        assert self._handshake is not None
        assert self.request is not None
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in self.request.subprotocols else None
        self._write(self._handshake.send(AcceptConnection(subprotocol=subprotocol)))
        self._handshake, self._accepted = None, True
        if self._early:
            early, self._early = self._early, b""
            asyncio.get_running_loop().call_soon(self._feed, early)

    def reject(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer as over plain HTTP."""
        if self._handshake is None or self.gone:
            return
        kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        kept.append((b"content-length", str(len(body)).encode()))
        refusal = RejectConnection(status_code=status, headers=kept, has_body=True)
        self._write(self._handshake.send(refusal) + self._handshake.send(RejectData(data=body)))
        self._handshake, self._closing = None, True
        if self._transport is not None:
            self._transport.close()

    def refuse(self, status: int, detail: str) -> None:
        """Reject with a problem of the gateway's own."""
        problem = {"title": "Gateway", "status": status, "detail": detail, "type": "about:blank"}
        self.reject(status, [(b"content-type", b"application/problem+json")], json.dumps(problem).encode())

    # --- sending ---

    def send(self, payload: bytes | memoryview) -> None:
        """One binary message. The caller heeds on_writable, or awaits `room`."""
        self._write(b"".join((header(BINARY, len(payload)), payload)))

    def send_shared(self, shared: Shared, length: int) -> None:
        """The same for bytes in a shared buffer, which are not copied."""
        if self._transport is not None and not self._closing and not self._transport.is_closing():
            shared.write(self._transport, length, tls=self._tls)

    def send_text(self, value: Any) -> None:
        """One text message: a JSON value."""
        self._write(frame(TEXT, json.dumps(value).encode()))

    def ping(self) -> None:
        if self.open:
            self._write(frame(PING, b"skep"))

    @property
    def writable(self) -> bool:
        return self._room.is_set()

    async def room(self) -> None:
        """Wait until what was sent is nearly gone."""
        await self._room.wait()

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye; a browser that does not answer is cut off."""
        if self.gone or self._closing or self._transport is None:
            return
        if not self._accepted:
            self.refuse(503, reason or "try again in a moment")
            return
        self._write(close_frame(code, reason))
        self._closing = True
        asyncio.get_running_loop().call_later(LINGER, self.abort)
        self._forget()

    def abort(self) -> None:
        if self._transport is not None and not self.gone:
            self._transport.abort()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._closing and not self._transport.is_closing():
            self._transport.write(data)

    # --- the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._tls = transport.get_extra_info("sslcontext") is not None
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self._state.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
        if self._accepted:
            self._feed(data)
        elif self.request is None:
            self._upgrade(data)
        elif len(self._early) + len(data) <= LONGEST:
            self._early += data
        else:
            self.abort()

    def _upgrade(self, data: bytes) -> None:
        assert self._handshake is not None
        try:
            self._handshake.receive_data(data)
            events = list(self._handshake.events())
        except (RemoteProtocolError, LocalProtocolError, UnicodeError) as error:
            self._write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            log.info("a handshake that is none: %s", error)
            if self._transport is not None:
                self._transport.close()
            return
        self.request = next(event for event in events if isinstance(event, Request))
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._serve(self)
        except Exception:
            log.exception("a console failed")
            self.close(FAULT, "the gateway failed; the reason is in its log")

    def _feed(self, data: bytes) -> None:
        try:
            for opcode, payload in self._messages.feed(data):
                self._take(opcode, payload)
        except Violation as violation:
            self.close(violation.code, str(violation))
            if self._transport is not None:
                self._transport.close()

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._pinged = payload
            self._pong()
        elif opcode == CLOSE:
            self._write(close_frame(close_code(payload), ""))
            self._closing = True
            if self._transport is not None:
                self._transport.close()
        elif opcode != PONG and not self._closing:
            self.on_message(opcode, payload)

    def _pong(self) -> None:
        """Answer the newest ping once there is room: who pings and does not read is owed one answer, not all."""
        if self._pinged is not None and self.writable:
            payload, self._pinged = self._pinged, None
            self._write(frame(PONG, payload))

    def pause_writing(self) -> None:
        self._room.clear()
        self.on_writable(False)

    def resume_writing(self) -> None:
        self._room.set()
        self._pong()
        self.on_writable(True)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._room.set()
        self._forget()

    def _forget(self) -> None:
        """Closed or gone: whoever serves it is told once."""
        if self.gone:
            self._state.connections.discard(self)
        told, self.on_closed = self.on_closed, _ignore
        told()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def shutdown(self) -> None:
        """uvicorn ends."""
        self.close(RESTARTING, "skep-gateway restarts")


def _ignore(*_: object) -> None:
    """Nobody wants to know."""


__all__ = ["Shared", "Socket"]
