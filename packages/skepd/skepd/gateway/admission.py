"""A request for a console as it is put to skepd: the caller's own credential or ticket, and where he comes from."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from wsproto.events import Request

from skepd.api.consoles.packets import TooLong
from skepd.api.subprotocol import offered_token

from .upstream import NO_TOKEN
from .websocket import Socket

PASSED_ON = frozenset(("authorization", "cookie", "origin", "host", "sec-fetch-site", "user-agent"))
_PATH = re.compile(r"/v1/guests/([^/?]+)/(console|screen)(?:\?(.*))?")
LONGEST = 8192
"""Bytes of one header, or of the address."""
KINDS = {"console": "serial", "screen": "screen"}


def is_console(target: bytes) -> bool:
    return _PATH.fullmatch(target.decode("latin-1")) is not None


def is_screen(target: str) -> bool:
    found = _PATH.fullmatch(target)
    return found is not None and found[2] == "screen"


def asked(socket: Socket) -> dict[str, Any]:
    """What skepd needs to decide (see api.consoles.door). Raises TooLong."""
    request = socket.request
    assert isinstance(request, Request)
    found = _PATH.fullmatch(request.target)
    assert found is not None
    headers = [["host", socket.host]]
    for name, value in request.extra_headers:
        if name.decode("latin-1").lower() in PASSED_ON - {"host"}:
            headers.append([name.decode("latin-1").lower(), value.decode("latin-1")])
    offered = list(request.subprotocols)
    if not any(name == "authorization" for name, _ in headers) and not offered_token(offered):
        headers.append([NO_TOKEN[0].decode(), NO_TOKEN[1].decode()])
    for what, text in (*headers, ("address", request.target), ("subprotocols", ",".join(offered))):
        if len(text) > LONGEST:
            raise TooLong(f"{what}: {len(text)} bytes are too long; {LONGEST} is the most")
    headers += [["x-skep-peer", socket.peer], ["x-skep-scheme", socket.scheme]]
    return {
        "guest": unquote(found[1]),
        "kind": KINDS[found[2]],
        "query": found[3] or "",
        "headers": headers,
        "subprotocols": offered,
        "peer": socket.peer,
    }
