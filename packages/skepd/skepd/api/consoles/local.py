"""Consoles of callers on skepd's own socket: bytes both ways through skepd, one chunk under way in each direction."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable
from typing import Any

from starlette.websockets import WebSocket

from skepd.engine.contract import Conflict

from ..service import Service
from ..subprotocol import SUBPROTOCOL
from .admission import Line, admit, new_console, open_line
from .registry import FAULT, GUEST_STOPPED, Console

CHUNK = 32_768


async def serve(service: Service, websocket: WebSocket, kind: str) -> None:
    """The serial line or the screen. Raises what admission and the engine raise, before the handshake."""
    asked = await service.workers.call(admit, service, websocket, websocket.path_params["name"], kind)
    local = _Local(service, websocket)
    console = new_console(asked, "", close=local.close, tell=local.tell)
    service.consoles.admit(console)
    try:
        if kind == "screen" and not console.writes:
            # What comes from a viewer of a screen is its protocol and his typing in one.
            raise Conflict(f"read only: {console.reason}; on this socket a screen is for one who types")
        line = await open_line(service, console, asked.offset)
        with socket.socket(fileno=line.descriptor) as connection:
            connection.setblocking(False)
            await local.run(console, line, connection)
    finally:
        service.consoles.remove(console.id)


class _Local:
    def __init__(self, service: Service, websocket: WebSocket) -> None:
        self._service = service
        self._websocket = websocket
        self._loop = asyncio.get_running_loop()
        self._notices: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._closed: asyncio.Future[tuple[int, str]] = self._loop.create_future()

    def close(self, code: int, reason: str) -> None:
        """From any thread."""
        self._loop.call_soon_threadsafe(self._settle, code, reason)

    def tell(self, event: dict[str, Any]) -> None:
        """From any thread."""
        self._loop.call_soon_threadsafe(self._notices.put_nowait, event)

    def _settle(self, code: int, reason: str) -> None:
        if not self._closed.done():
            self._closed.set_result((code, reason))

    async def run(self, console: Console, line: Line, connection: socket.socket) -> None:
        offered = self._websocket.scope.get("subprotocols", ())
        await self._websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        works: list[Awaitable[None]] = [self._until_closed()]
        if console.kind == "serial":
            notice = {**self._service.consoles.notice(console), "offset": line.first}
            await self._websocket.send_text(json.dumps(notice))
            await self._past(console, line)
            works.append(self._tell_notices())
        works += [self._down(connection), self._up(connection, console)]
        await first(*works)

    async def _past(self, console: Console, line: Line) -> None:
        at = line.first
        while at < line.begins:
            read = self._service.engine.console_history
            at, data = await self._service.workers.call(read, console.guest, at, min(line.begins - at, CHUNK))
            if not data:
                return
            await self._websocket.send_bytes(data)
            at += len(data)

    async def _until_closed(self) -> None:
        code, reason = await self._closed
        await self._websocket.close(code, reason)

    async def _tell_notices(self) -> None:
        while True:
            await self._websocket.send_text(json.dumps(await self._notices.get()))

    async def _down(self, connection: socket.socket) -> None:
        code, reason = GUEST_STOPPED, "the guest's end was closed"
        try:
            while data := await self._loop.sock_recv(connection, CHUNK):
                await self._websocket.send_bytes(data)
        except ConnectionError as error:
            code, reason = FAULT, str(error)
        await asyncio.sleep(0)  # who took the keyboard over says so first
        if not self._closed.done():
            await self._websocket.close(code, reason)

    async def _up(self, connection: socket.socket, console: Console) -> None:
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            data = message.get("bytes")
            if data and console.writes:
                try:
                    await self._loop.sock_sendall(connection, data)
                except ConnectionError:
                    return  # the other direction says so to the client


async def first(*works: Awaitable[None]) -> None:
    """Runs all until one ends, then ends the others; raises what the first one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
