"""One request to skepd over its unix socket: HTTP/1.1, streamed both ways, at the pace of the slower side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h11

CHUNK = 65_536
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te")
) | {b"trailer", b"transfer-encoding", b"upgrade"}
OURS = frozenset((b"host", b"expect", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"))
NO_TOKEN = (b"authorization", b"Bearer")
"""Said for a caller without a token, so that skepd never takes him for the gateway's own user, whoever that is."""
Headers = list[tuple[bytes, bytes]]


class Upstream:
    """A connection for one exchange. Raises OSError when skepd is not there, h11.ProtocolError for nonsense."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.CLIENT)

    @classmethod
    async def connect(cls, path: Path) -> Upstream:
        return cls(*await asyncio.open_unix_connection(str(path), limit=CHUNK))

    async def send(self, event: Any) -> None:
        """Send an h11 event; returns when skepd's side takes more."""
        data = self._protocol.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()

    async def receive(self) -> Any:
        """The next event of the answer."""
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            self._protocol.receive_data(await self._reader.read(CHUNK))
        return event

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def request_headers(scope: Any) -> Headers:
    """The caller's headers as skepd gets them: his credential unchanged, nothing that belongs to the connection."""
    given = scope["headers"]
    headers = [(name, value) for name, value in _end_to_end(given) if name not in OURS]
    names = {name for name, _ in headers}
    if b"content-length" not in names and any(name == b"transfer-encoding" for name, _ in given):
        headers.append((b"transfer-encoding", b"chunked"))
    client = scope.get("client")
    if client:
        headers.append((b"x-forwarded-for", client[0].encode()))
    if b"authorization" not in names:
        headers.append(NO_TOKEN)
    return [(b"host", b"skepd"), *headers]


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
