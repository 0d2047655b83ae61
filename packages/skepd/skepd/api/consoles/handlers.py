"""Handlers of tickets, and of who has which console open."""

from __future__ import annotations

import time

from skep.consoles import OpenedConsole, Ticket, TicketRequest

from skepd.engine.contract import Conflict
from skepd.model.names import Kind, Ref

from ..authorise import require
from ..route import Answer, Call
from .tickets import Grant


def issue(call: Call) -> Answer:
    """A ticket for the caller; refused at once when he could not type and wants to."""
    wanted = call.body_as(TicketRequest)
    call.engine.view(Ref(Kind.GUEST, call.name))
    if wanted.write:
        require(call.caller, "operator")
        writer = call.consoles.writer(call.name, wanted.kind)
        if writer is not None and not wanted.take:
            raise Conflict(f"{writer.user} types on this console: take it over, or only watch")
    ticket, life = call.tickets.issue(
        Grant(
            guest=call.name,
            kind=wanted.kind,
            origin=call.headers.get("origin", ""),
            caller=call.caller,
            write=wanted.write,
            take=wanted.take,
        )
    )
    return Answer(Ticket(ticket=ticket, expires=time.time() + life), 201, {"Cache-Control": "no-store"})


def opened(call: Call) -> Answer:
    call.engine.view(Ref(Kind.GUEST, call.name))
    found = sorted(call.consoles.of(call.name), key=lambda one: one.since)
    return Answer(
        [
            OpenedConsole(kind=one.kind, user=one.user, writes=one.writes, since=one.since, peer=one.peer)
            for one in found
        ]
    )
