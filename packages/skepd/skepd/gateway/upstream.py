"""One request to skepd over its unix socket: HTTP/1.1, streamed both ways, at the pace of the slower side."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h11

CHUNK = 65_536
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te")
) | {b"trailer", b"transfer-encoding", b"upgrade"}
OURS = frozenset((b"host", b"expect", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")) | {
    *(b"x-skep-peer", b"x-skep-scheme")
}
"""Headers of the gateway's own: what a caller says in them is dropped."""
NO_TOKEN = (b"authorization", b"Bearer")
"""Said for a caller without a token, so that skepd never takes him for the gateway's own user, whoever that is."""
Headers = list[tuple[bytes, bytes]]


class Upstream:
    """A connection for one exchange. Raises OSError when skepd is not there, h11.ProtocolError for nonsense.

    Not one of asyncio's streams: theirs forget what was received when a write fails, and with it the answer that says
    why skepd takes no more.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._protocol = h11.Connection(h11.CLIENT)

    @classmethod
    async def connect(cls, path: Path) -> Upstream:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, str(path))
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    async def send(self, event: Any) -> None:
        """Send an h11 event; returns when skepd's side has taken it."""
        data = self._protocol.send(event)
        if data:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def receive(self) -> Any:
        """The next event of the answer."""
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            self._protocol.receive_data(await asyncio.get_running_loop().sock_recv(self._socket, CHUNK))
        return event

    def close(self) -> None:
        self._socket.close()


def request_headers(scope: Any) -> Headers:
    """The caller's headers as skepd gets them: his credential unchanged, nothing that belongs to the connection."""
    given = scope["headers"]
    headers = [(name, value) for name, value in _end_to_end(given) if name not in OURS]
    names = {name for name, _ in headers}
    if b"content-length" not in names and any(name == b"transfer-encoding" for name, _ in given):
        headers.append((b"transfer-encoding", b"chunked"))
    if b"authorization" not in names:
        headers.append(NO_TOKEN)
    return [(b"host", asked_host(scope)), *headers, *origin(scope)]


def asked_host(scope: Any) -> bytes:
    """The host that the caller asked for, which skepd compares with the origin of the page."""
    given = [value for name, value in scope["headers"] if name == b"host"]
    return given[0] if len(given) == 1 and given[0] else b"skepd"


def origin(scope: Any) -> Headers:
    """What skepd believes nobody else: the caller's address, and how he came here."""
    scheme = b"https" if scope.get("scheme") in ("https", "wss") else b"http"
    client = scope.get("client")
    peer = [(b"x-skep-peer", client[0].encode())] if client else []
    return [(b"x-skep-scheme", scheme), *peer]


def answer_headers(given: Iterable[tuple[bytes, bytes]]) -> Headers:
    return _end_to_end([(bytes(name), bytes(value)) for name, value in given])


def _end_to_end(given: Headers) -> Headers:
    named = {
        word.strip().lower() for name, value in given if name.lower() == b"connection" for word in value.split(b",")
    }
    dropped = HOP_BY_HOP | named
    return [(name, value) for name, value in given if name.lower() not in dropped]


def target(scope: Any) -> bytes:
    """Path and query as the caller wrote them."""
    query = scope["query_string"]
    path: bytes = scope["raw_path"]
    return path + b"?" + query if query else path
