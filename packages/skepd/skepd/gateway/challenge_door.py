"""The gateway's plain HTTP door, open only with --acme: it answers a CA's challenges and sends browsers to TLS."""

from __future__ import annotations

import socket
import threading
from typing import Any

import uvicorn

from skepd.api.watchful import WatchfulH11

from .answers import answer

PREFIX = "/.well-known/acme-challenge/"
CONNECTIONS = 100


class ChallengeDoor:
    """An ASGI application. names: of this host. port: where its TLS is. answers: by token, while they are asked for."""

    def __init__(self, names: frozenset[str], port: int) -> None:
        self.answers: dict[str, str] = {}
        self._names = names
        self._port = "" if port == 443 else f":{port}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if path.startswith(PREFIX):
            text = self.answers.get(path.removeprefix(PREFIX))
            known = text is not None
            await answer(send, 200 if known else 404, b"text/plain", (text or "there is nothing\n").encode())
        elif not scope["raw_path"].startswith(b"/"):  # after a name, `@evil.org/` would be another host's address
            await answer(send, 404, b"text/plain", b"there is nothing\n")
        elif (name := _asked(scope)) in self._names and scope["method"] in ("GET", "HEAD"):
            where = f"https://{name}{self._port}".encode() + scope["raw_path"]
            await send({"type": "http.response.start", "status": 308, "headers": [(b"location", where)]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await answer(send, 404, b"text/plain", b"there is nothing\n")

    def serve(self, listeners: list[socket.socket]) -> threading.Thread:
        """In a thread with a loop of its own: whatever comes here holds up nobody there."""
        configuration = uvicorn.Config(
            self, http=WatchfulH11, ws="none", limit_concurrency=CONNECTIONS, lifespan="off", log_config=None,
            access_log=False, server_header=False, proxy_headers=False, timeout_keep_alive=5,
        )  # fmt: skip
        server = uvicorn.Server(configuration)
        thread = threading.Thread(target=server.run, args=(listeners,), name="challenges", daemon=True)
        thread.start()
        return thread


def _asked(scope: Any) -> str:
    given = [value for name, value in scope["headers"] if name == b"host"]
    return given[0].decode("ascii", "replace").partition(":")[0].lower() if len(given) == 1 else ""
