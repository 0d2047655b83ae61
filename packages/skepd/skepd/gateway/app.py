"""The gateway's application: /v1 goes to skepd with the caller's own credential; it has none itself and no state."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import h11

from skepd.api.consoles.door import NAME as DOOR

from .answers import answer, refuse
from .consoles import Consoles
from .pages import Pages
from .relay import relay
from .upstream import Upstream, answer_headers, request_headers, target

log = logging.getLogger("skepd.gateway")
METRICS = b"/metrics"
"""The one path of skepd outside of /v1: where Prometheus looks."""
UPSTREAM_GONE = "skepd does not answer on this host"


class Gateway:
    """An ASGI application. socket: skepd's. pages: what is served outside of /v1."""

    def __init__(self, socket: Path, pages: Pages) -> None:
        self._socket = socket
        self._pages = pages
        self.consoles = Consoles(socket.with_name(DOOR))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        ours = scope["path"].startswith("/v1/") and scope["raw_path"].startswith(b"/v1/")
        ours = ours or scope["raw_path"] == METRICS
        if scope["type"] == "websocket":
            await (relay(self._socket, scope, receive, send) if ours else refuse(scope, send, 404, "there is nothing"))
        elif ours:
            await self._pass_on(scope, receive, send)
        elif scope["path"] == "/healthz":
            await self._health(send)
        else:
            await self._pages(scope, send)

    async def _health(self, send: Any) -> None:
        """Whether skepd takes connections; says nothing else to who has no credential."""
        try:
            upstream = await Upstream.connect(self._socket)
        except OSError:
            await answer(send, 503, b"text/plain", b"skepd does not answer\n")
            return
        upstream.close()
        await answer(send, 200, b"text/plain", b"ok\n")

    async def _pass_on(self, scope: Any, receive: Any, send: Any) -> None:
        started = False

        async def sending(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            upstream = await Upstream.connect(self._socket)
            try:
                await exchange(upstream, scope, receive, sending)
            finally:
                upstream.close()
        except (OSError, h11.ProtocolError) as error:
            # The path as it came, still escaped: decoded, a line end in it would begin a line of the caller's own.
            log.warning("%s %s: %s", scope["method"], scope["raw_path"].decode("ascii", "backslashreplace"), error)
            if started:
                raise  # too late for an answer: the broken connection is the answer
            await refuse(scope, send, 502, UPSTREAM_GONE)


async def exchange(upstream: Upstream, scope: Any, receive: Any, send: Any) -> None:
    """One request and its answer, the body going up while the answer comes down; ends when the caller is gone."""
    method, where = scope["method"].encode(), target(scope)
    await upstream.send(h11.Request(method=method, target=where, headers=request_headers(scope)))
    up = asyncio.ensure_future(_body_up(upstream, receive))
    down = asyncio.ensure_future(_answer_down(upstream, send))
    try:
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        if up.done() and up.exception() is not None:
            await down  # skepd refused the rest of the body: its answer says why
        if down.done():
            down.result()
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)


async def _body_up(upstream: Upstream, receive: Any) -> None:
    """Send the body; then wait until the caller is gone."""
    ended = False
    while (message := await receive())["type"] != "http.disconnect":
        if ended:
            continue
        if message.get("body"):
            await upstream.send(h11.Data(data=message["body"]))
        if not message.get("more_body"):
            ended = True
            await upstream.send(h11.EndOfMessage())


async def _answer_down(upstream: Upstream, send: Any) -> None:
    while True:
        event = await upstream.receive()
        if isinstance(event, h11.Response):
            headers = answer_headers(event.headers.raw_items())
            await send({"type": "http.response.start", "status": event.status_code, "headers": headers})
        elif isinstance(event, h11.Data):
            await send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
        elif isinstance(event, h11.EndOfMessage):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        elif isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError("skepd closed the connection")
