"""Serve the API on skepd's unix socket."""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from skepd.access.access import Access
from skepd.engine.contract import Engine

from .app import create_app
from .authorise import Authoriser, Policy
from .consoles.door import NAME as DOOR
from .consoles.door import Door, load_key
from .limits import allow_descriptors
from .peers import PeerH11, PeerWebSocket
from .tokens import TokenStore

BACKLOG = 256
CONNECTIONS = 2000
KEY = "consoles.key"
SWEEP = 30.0
log = logging.getLogger("skepd.api")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """mode 0666: everybody may connect, and is then asked who he is by the kernel (see `authorise`); a gateway,
    operators and viewers are in groups of their own, and a socket has one group only. Accounts lie beside the tokens.
    page: where the gateway serves, for the link that makes the first administrator."""

    socket: Path
    tokens: Path
    page: str = "https://localhost:8443"
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
    with contextlib.closing(Access(settings.tokens.parent, settings.page)) as access:
        app = create_app(engine, tokens, Authoriser(tokens, settings.policy, access=access))
        welcome(access)
        with listening(settings.socket, settings.group, settings.mode) as listener, sweeping(access):
            Server(app, settings.socket.with_name(DOOR), load_key(settings.tokens.with_name(KEY))).run([listener])
        app.state.service.workers.close()


def welcome(access: Access) -> None:
    """Where there is no account yet, say how the first one is made. The link goes to a terminal, never into a log."""
    if access.users.all():
        return
    if sys.stdout.isatty():
        secret, _ = access.users.new_link()
        print(f"open {access.link(secret)} to make the administrator (once, within an hour)", flush=True)  # noqa: T201
    else:
        log.info("there is no account for the web pages yet: `skep user link` prints a link that makes the first one")


@contextlib.contextmanager
def sweeping(access: Access) -> Iterator[None]:
    """Ends expired sessions meanwhile, so that what they opened is closed without anybody asking."""
    over = threading.Event()

    def sweep() -> None:
        while not over.wait(SWEEP):
            access.sessions.sweep()

    thread = threading.Thread(target=sweep, name="sessions", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Server(uvicorn.Server):
    """uvicorn, with a door for gateways beside it while it serves. door: its socket; key: of its proofs."""

    def __init__(self, app: Any, door: Path, key: bytes) -> None:
        super().__init__(configuration(app))
        self._door = Door(app.state.service, door, key)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._door.open()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._door.close()
        await super().shutdown(sockets)


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
