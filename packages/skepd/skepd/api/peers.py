"""uvicorn's protocols, taught who is at the other end of a unix socket."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

from .authorise import PEER
from .watchful import WatchfulH11

LINUX_UCRED = struct.Struct("iII")
FREEBSD_XUCRED = struct.Struct("II")


def peer_uid(sock: Any) -> int | None:
    """The uid that connected a unix socket; None for any other socket."""
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    option = getattr(socket, "SO_PEERCRED", None)
    if option is not None:
        data = sock.getsockopt(socket.SOL_SOCKET, option, LINUX_UCRED.size)
        return int(LINUX_UCRED.unpack(data)[1])
    # FreeBSD: struct xucred begins with its version (0) and the uid; level 0 is SOL_LOCAL.
    version, uid = FREEBSD_XUCRED.unpack_from(sock.getsockopt(0, getattr(socket, "LOCAL_PEERCRED", 1), 128))
    return int(uid) if version == 0 else None


def with_peer(app: Any, transport: asyncio.BaseTransport) -> Any:
    """The application, told the peer's uid in each scope."""
    uid = peer_uid(transport.get_extra_info("socket"))

    async def tell(scope: Any, receive: Any, send: Any) -> None:
        scope[PEER] = uid
        await app(scope, receive, send)

    return tell


class PeerH11(WatchfulH11):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = with_peer(self.app, transport)


class PeerWebSocket(WSProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = with_peer(self.app, transport)
