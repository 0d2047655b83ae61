"""Who may open a console: by a ticket, or by a credential of the caller's own."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import dataclass
from typing import Any

from skep.consoles import ConsoleQuery, ScreenQuery
from starlette.requests import HTTPConnection

from skepd.engine.contract import Conflict
from skepd.model.names import Kind, Ref

from .. import decode
from ..authorise import require
from ..problems import ApiError
from ..service import Service
from .registry import Console
from .tickets import Grant

KINDS: dict[str, type[ScreenQuery]] = {"serial": ConsoleQuery, "screen": ScreenQuery}
LAST = 1 << 20
"""Bytes of the history that a console begins with."""


@dataclass(frozen=True)
class Asked:
    """What a caller may have. offset: as of Engine.open_console."""

    grant: Grant
    offset: int


def admit(service: Service, connection: HTTPConnection, guest: str, kind: str, *, gateway: bool = False) -> Asked:
    """gateway: a gateway asks for somebody else, who is never the user at the socket's other end.

    Raises ApiError 401, 403 or 400, Unknown. Call it in a thread.
    """
    if kind not in KINDS:
        raise ApiError(400, f"there is no console of kind {kind!r:.40}")
    origin = connection.headers.get("origin", "")
    ticket = connection.query_params.get("ticket", "")
    grant = service.tickets.redeem(ticket, guest=guest, kind=kind, origin=origin) if ticket else None
    caller = grant.caller if grant else service.authoriser.caller(connection)
    if gateway and caller.via == "socket":
        raise ApiError(401, "no token was given", "skepd's own socket asks for none; the gateway always does")
    query = decode.query(connection.query_params.multi_items(), KINDS[kind])  # not for strangers
    if grant is None:
        if caller.via == "session":
            raise ApiError(403, "a page opens a console by a ticket", "POST /v1/guests/NAME/tickets gives one")
        require(caller, "operator" if query.write else "viewer")
        grant = Grant(guest=guest, kind=kind, origin=origin, caller=caller, write=query.write, take=query.take)
    service.engine.view(Ref(Kind.GUEST, guest))
    after = query.after if isinstance(query, ConsoleQuery) else -1
    return Asked(grant, after if after >= 0 else -LAST)


def new_console(asked: Asked, peer: str, **reach: Any) -> Console:
    """reach: the fields id, close, tell and holder."""
    grant = asked.grant
    return Console(
        guest=grant.guest,
        kind=grant.kind,
        user=grant.caller.name,
        writes=grant.write,
        take=grant.take,
        key=grant.caller.key,
        peer=peer,
        **reach,
    )


@dataclass(frozen=True)
class Line:
    """A descriptor, the offset of its first byte, and that of the first byte that the caller shall see: what lies
    between is in the history (see Engine.open_console)."""

    descriptor: int
    begins: int
    first: int


async def open_line(service: Service, console: Console, offset: int) -> Line:
    """The serial line of a console that was admitted, or its screen. Raises what the engine raises.

    A thread cannot be cancelled: when its caller is, it closes what it opens, so that a guard keeps no viewer of whom
    nobody knows.
    """
    lock = threading.Lock()
    opened: list[int] = []
    given_up = threading.Event()

    def work() -> Line:
        line = _open_line(service, console, offset)
        with lock:
            opened.append(line.descriptor)
            if given_up.is_set():
                os.close(opened.pop())
        return line

    try:
        return await service.workers.call(work)
    except asyncio.CancelledError:
        with lock:
            given_up.set()
            while opened:
                os.close(opened.pop())
        raise


def _open_line(service: Service, console: Console, offset: int) -> Line:
    if console.kind == "screen":
        return Line(service.engine.open_screen(console.guest), 0, 0)
    engine, guest = service.engine, console.guest
    try:
        descriptor, begins = engine.open_console(guest, writer=console.writes, take=console.take, offset=offset)
    except Conflict as error:
        if not console.writes or console.take:
            raise
        service.consoles.demote(console, str(error))
        descriptor, begins = engine.open_console(guest, writer=False, take=False, offset=offset)
    console.take = console.writes  # what it has, it may have again
    try:
        wanted = offset
        if wanted < 0:
            last, data = engine.console_history(guest, -1, 1)
            wanted = max(last + len(data) + offset, 0)
        first, _ = engine.console_history(guest, min(wanted, begins), 1)
    except BaseException:
        os.close(descriptor)
        raise
    return Line(descriptor, begins, min(first, begins))
