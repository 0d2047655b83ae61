"""WebSockets through the gateway: one frame under way in each direction, so who reads slowly waits, alone."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from skepd.api.subprotocol import offered_token

from .upstream import CHUNK, NO_TOKEN, asked_host, origin, target

LONGEST_TEXT = 1 << 20
PASSED_ON = frozenset((b"authorization", b"user-agent", b"origin", b"cookie"))


class Line:
    """skepd's side of a WebSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = WSConnection(ConnectionType.CLIENT)

    async def send(self, event: Any) -> None:
        self._writer.write(self._protocol.send(event))
        await self._writer.drain()

    async def receive(self) -> list[Any]:
        """The next events; RemoteProtocolError or a CloseConnection at the end."""
        data = await self._reader.read(CHUNK)
        self._protocol.receive_data(data or None)
        return list(self._protocol.events())

    async def close(self) -> None:
        with suppress(OSError, LocalProtocolError):
            await self.send(CloseConnection(code=1000))
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


async def relay(socket: Path, scope: Any, receive: Any, send: Any) -> None:
    """Connect to skepd with the caller's credential; its refusal becomes ours."""
    await receive()  # websocket.connect
    try:
        line = Line(*await asyncio.open_unix_connection(str(socket), limit=CHUNK))
    except OSError:
        problem = {"title": "Gateway", "status": 502, "detail": "skepd does not answer on this host"}
        await _deny(send, 502, json.dumps(problem).encode())
        return
    try:
        early = await _handshake(line, scope, send)
        if early is not None:
            await _both_ways(line, early, receive, send)
    except (OSError, RemoteProtocolError):
        with suppress(OSError, RuntimeError):
            await send({"type": "websocket.close", "code": 1011, "reason": "skepd went away"})
    finally:
        await line.close()


async def _handshake(line: Line, scope: Any, send: Any) -> list[Any] | None:
    """Accepts the caller if skepd does; returns events that came with it, None if it does not."""
    headers = [(name, value) for name, value in scope["headers"] if name in PASSED_ON]
    offered = list(scope.get("subprotocols", ()))
    if not any(name == b"authorization" for name, _ in headers):
        token = offered_token(offered)
        headers.append((b"authorization", b"Bearer " + token.encode()) if token else NO_TOKEN)
    headers += origin(scope)
    host, where = asked_host(scope).decode("ascii"), target(scope).decode("ascii")
    await line.send(Request(host=host, target=where, extra_headers=headers, subprotocols=offered))
    rejected, body = None, b""
    while True:
        events = await line.receive()
        for number, event in enumerate(events):
            if isinstance(event, AcceptConnection):
                await send({"type": "websocket.accept", "subprotocol": event.subprotocol})
                return events[number + 1 :]
            if isinstance(event, RejectConnection):
                rejected = event
            elif isinstance(event, RejectData):
                body += event.data
            elif isinstance(event, CloseConnection):
                raise ConnectionResetError("skepd closed the connection")
            if rejected is not None and (not rejected.has_body or getattr(event, "body_finished", False)):
                await _deny(send, rejected.status_code, body)
                return None


async def _deny(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


async def _both_ways(line: Line, early: list[Any], receive: Any, send: Any) -> None:
    tasks = [asyncio.ensure_future(_up(line, receive)), asyncio.ensure_future(_down(line, early, send))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _up(line: Line, receive: Any) -> None:
    while (message := await receive())["type"] != "websocket.disconnect":
        if message.get("bytes") is not None:
            await line.send(BytesMessage(data=message["bytes"]))
        elif message.get("text") is not None:
            await line.send(TextMessage(data=message["text"]))


async def _down(line: Line, events: list[Any], send: Any) -> None:
    text = ""
    while True:
        for event in events:
            if isinstance(event, BytesMessage):
                await send({"type": "websocket.send", "bytes": bytes(event.data)})
            elif isinstance(event, TextMessage):
                text += event.data
                if len(text) > LONGEST_TEXT:
                    raise ConnectionResetError("skepd sent a text without an end")
                if event.message_finished:
                    await send({"type": "websocket.send", "text": text})
                    text = ""
            elif isinstance(event, Ping):
                await line.send(event.response())
            elif isinstance(event, CloseConnection):
                reason = event.reason or ""
                code = 1011 if event.code in (None, 1005, 1006) else int(event.code)
                await send({"type": "websocket.close", "code": code, "reason": reason})
                return
        events = await line.receive()
