"""uvicorn's HTTP protocol, taught to wait for nobody for ever and to look before it upgrades."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_HEAD = 30.0
"""Seconds for a complete request head: from the connection on, and after each answer once keep-alive has passed."""


class WatchfulH11(H11Protocol):
    """HTTP/1.1 that hangs up on a connection that asks nothing.

    uvicorn alone takes back its keep-alive timer at the next byte, whatever that byte is, so that whoever was answered
    once, and be it by a refusal, could keep the connection for ever.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect(REQUEST_HEAD)

    def on_response_complete(self) -> None:
        self._deadline.cancel()
        self._expect(self.timeout_keep_alive + REQUEST_HEAD)
        super().on_response_complete()

    def _expect(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and not self.transport.is_closing() and self.transport.get_protocol() is self:
            self.transport.close()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """wsproto decodes headers and lets the error escape, which would leave a connection counted for ever."""
        try:
            for name, value in self.headers:
                value.decode("idna" if name == b"host" else "ascii")
        except (UnicodeError, LookupError):  # a process without its files has not each of the codecs
            self.send_400_response("a header is not ASCII")
            return
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)
