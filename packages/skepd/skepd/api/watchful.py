"""uvicorn's HTTP protocol, taught to wait for nobody for ever and to look before it upgrades."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

FIRST_REQUEST = 30.0
"""Seconds that a new connection has for its first complete request head."""


class WatchfulH11(H11Protocol):
    """HTTP/1.1 that hangs up on a connection that never asks anything."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(FIRST_REQUEST, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None and not self.transport.is_closing() and self.transport.get_protocol() is self:
            self.transport.close()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """wsproto decodes headers and lets the error escape, which would leave a connection counted for ever."""
        try:
            for name, value in event.headers:
                value.decode("idna" if name == b"host" else "ascii")
        except UnicodeError:
            self.send_400_response("a header is not ASCII")
            return
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)
