"""Serve the API on skepd's unix socket."""

from __future__ import annotations

import contextlib
import grp
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from skepd.engine.contract import Engine

from .app import create_app
from .authorise import Authoriser, Policy
from .limits import allow_descriptors
from .peers import PeerH11, PeerWebSocket
from .tokens import TokenStore

BACKLOG = 256
CONNECTIONS = 2000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """mode 0666: everybody may connect, and is then asked who he is by the kernel (see `authorise`); a gateway,
    operators and viewers are in groups of their own, and a socket has one group only."""

    socket: Path
    tokens: Path
    group: str | None = None
    mode: int = 0o666
    policy: Policy = field(default_factory=Policy)


def run(engine: Engine, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then return; the caller closes the engine. Call it in the main thread.

    Raises ValueError for a token file that cannot be understood, OSError if the socket cannot be made.
    """
    allow_descriptors(2 * CONNECTIONS)  # a console has a line to its guest beside its own
    settings.tokens.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    tokens = TokenStore(settings.tokens)
    app = create_app(engine, tokens, Authoriser(tokens, settings.policy))
    with listening(settings.socket, settings.group, settings.mode) as listener:
        serve(app, listener)
    app.state.service.workers.close()


def serve(app: Any, listener: socket.socket) -> None:
    uvicorn.Server(configuration(app)).run([listener])


def configuration(app: Any) -> uvicorn.Config:
    """uvicorn, told who calls; pings find a console whose reader is gone for two minutes."""
    return uvicorn.Config(
        app,
        http=PeerH11,
        ws=PeerWebSocket,
        ws_max_size=1 << 20,
        ws_per_message_deflate=False,
        ws_ping_interval=30.0,
        ws_ping_timeout=120.0,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=3,
        limit_concurrency=CONNECTIONS,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )


@contextlib.contextmanager
def listening(path: Path, group: str | None, mode: int) -> Iterator[socket.socket]:
    """A listening socket that appears under its name only when it is ready, and is gone afterwards."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with listener:
        temporary.unlink(missing_ok=True)
        listener.bind(str(temporary))
        os.chmod(temporary, mode)
        if group is not None:
            os.chown(temporary, -1, grp.getgrnam(group).gr_gid)
        listener.listen(BACKLOG)
        temporary.rename(path)
        made = path.stat().st_ino
        try:
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == made:
                    path.unlink()
