"""Consoles of guests at the gateway: which upgrade becomes one, and whether its browser is still there."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import h11

from skepd.api.consoles.packets import TooLong
from skepd.api.watchful import WatchfulH11

from .admission import is_console, is_screen
from .control import Control
from .screens import Screens
from .serial import serve_serial
from .websocket import Socket

PING, GONE = 30.0, 120.0
"""Seconds between pings, and without any byte until a browser counts as gone."""


class Consoles:
    """All that are open. path: of skepd's socket for gateways."""

    def __init__(self, path: Path) -> None:
        self._control = Control(path)
        self._screens = Screens(self._control)
        self._sockets: set[Socket] = set()
        self._pinging: asyncio.Task[None] | None = None

    def socket(self, *, server_state: Any, host: str, **_: Any) -> Socket:
        """As uvicorn makes a protocol for an upgraded connection."""
        return Socket(self._serve, server_state, host)

    async def _serve(self, socket: Socket) -> None:
        self._sockets.add(socket)
        if self._pinging is None or self._pinging.done():
            self._pinging = asyncio.get_running_loop().create_task(self._ping())
        try:
            if socket.request is not None and is_screen(socket.request.target):
                await self._screens.serve(socket)
            else:
                await serve_serial(self._control, socket)
        except TooLong as error:
            socket.refuse(431, str(error))

    async def _ping(self) -> None:
        while self._sockets:
            await asyncio.sleep(PING)
            now = time.monotonic()
            self._sockets = {socket for socket in self._sockets if not socket.gone}
            for socket in self._sockets:
                if now - socket.heard > GONE:
                    socket.abort()
                else:
                    socket.ping()


class GatewayH11(WatchfulH11):
    """HTTP of the gateway, whose application is a `Gateway`."""

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        if is_console(event.target):
            consoles: Consoles = self.config.loaded_app.consoles
            host = next((value for name, value in event.headers if name == b"host"), b"skepd")
            made = partial(consoles.socket, host=host.decode("latin-1"))
            self.ws_protocol_class = made  # type: ignore[assignment]
            # wsproto would decode it as IDNA, which fails for many a name and gives another one for others.
            self.headers = [(name, b"skepd" if name == b"host" else value) for name, value in self.headers]
        super().handle_websocket_upgrade(event)
