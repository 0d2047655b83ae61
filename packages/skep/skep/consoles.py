"""What travels about consoles and screens of guests. As in `wire`: times are seconds since 1970."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from .wire import Offset, Request


class Ticket(Struct, kw_only=True):
    """Opens one console once, from the page it was made for. expires: seconds since 1970."""

    ticket: str
    expires: float


class OpenedConsole(Struct, kw_only=True):
    """Somebody at a console. kind: serial or screen; since: seconds since 1970; peer: where he calls from."""

    kind: str
    user: str
    writes: bool
    since: float
    peer: str = ""


class TicketRequest(Request, kw_only=True):
    """write: with the keyboard, which one has at a time; take: take it from who has it."""

    kind: Literal["serial", "screen"]
    write: bool = False
    take: bool = False


class ScreenQuery(Request, kw_only=True):
    """write: ask for the keyboard (one writer at a time); take: take it from who has it.

    ticket: in place of any other credential; it says itself what was asked for.
    """

    write: bool = True
    take: bool = False
    ticket: Annotated[str, Meta(max_length=255)] = ""


class ConsoleQuery(ScreenQuery, kw_only=True):
    """after: the bytes of the line that were seen already, to go on there; -1: begin with the last MiB."""

    after: Offset = -1
