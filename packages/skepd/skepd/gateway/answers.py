"""Answers that the gateway gives by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

Headers = list[tuple[bytes, bytes]]


async def refuse(scope: Any, send: Any, status: int, detail: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """An error of the gateway itself, as a problem like skepd's."""
    body = json.dumps({"title": "Gateway", "status": status, "detail": detail, "type": "about:blank"}).encode()
    prefix = "websocket." if scope["type"] == "websocket" else ""
    await answer(send, status, b"application/problem+json", body, prefix, headers)


async def answer(
    send: Any, status: int, media: bytes, body: bytes, prefix: str = "", headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    own = [(b"content-type", media), (b"content-length", str(len(body)).encode())]
    with suppress(ConnectionError):
        await send({"type": f"{prefix}http.response.start", "status": status, "headers": [*own, *headers]})
        await send({"type": f"{prefix}http.response.body", "body": body})
