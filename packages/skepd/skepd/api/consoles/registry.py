"""Who has which console open: one keyboard for each, taken over openly, and closed when a session ends."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

TAKEN_OVER, SESSION_ENDED, GUEST_STOPPED, FAULT, RESTARTING = 4001, 4002, 4003, 1011, 1012
"""Codes with which a console's WebSocket is closed."""


@dataclass(eq=False, kw_only=True)
class Console:
    """An open console. close(code, reason), tell(event): reach the one who holds it; callable from any thread.

    reason: why it reads only. take: whether it may take the keyboard from one that is not known here.
    key: of the session or token that it ends with ("session:ID"); empty: with none.
    holder: the connection of a gateway that it came by; None: skepd's own.
    """

    guest: str
    kind: str
    user: str
    writes: bool
    close: Callable[[int, str], None]
    tell: Callable[[dict[str, Any]], None]
    key: str = ""
    reason: str = ""
    take: bool = False
    peer: str = ""
    holder: object = None
    since: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: secrets.token_hex(8))


class Registry:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._open: dict[str, Console] = {}

    def admit(self, console: Console) -> None:
        """Let a console in; it reads only when another one writes and taking over was not asked for."""
        with self._lock:
            other = self.writer(console.guest, console.kind)
            if not console.writes:
                console.reason = "as asked"
            elif other is not None and not console.take:
                console.writes, console.reason = False, f"{other.user} types on it"
            elif other is not None:
                del self._open[other.id]
            self._open[console.id] = console
            if console.writes:
                self._announce(console)
        if console.writes and other is not None:
            other.close(TAKEN_OVER, f"{console.user} has taken the keyboard over")

    def demote(self, console: Console, reason: str) -> None:
        """It does not write after all."""
        with self._lock:
            console.reason = reason
            if console.writes:
                console.writes = False
                self._announce(console)

    def notice(self, console: Console) -> dict[str, Any]:
        """What its user is told first."""
        writer = self.writer(console.guest, console.kind)
        name = writer.user if writer else None
        return {"event": "opened", "read_only": not console.writes, "reason": console.reason, "writer": name}

    def keep(self, console: Console) -> None:
        """A console that was open before we knew of it. Two of them cannot write: the one that we know of stays."""
        with self._lock:
            known = self.writer(console.guest, console.kind)
            if not console.writes or known is None or known.id == console.id:
                self._open[console.id] = console
                return
        console.close(TAKEN_OVER, f"{known.user} has taken the keyboard over")

    def get(self, identity: str) -> Console | None:
        with self._lock:
            return self._open.get(identity)

    def writer(self, guest: str, kind: str) -> Console | None:
        with self._lock:
            return next((one for one in self.of(guest, kind) if one.writes), None)

    def of(self, guest: str, kind: str | None = None) -> list[Console]:
        with self._lock:
            return [one for one in self._open.values() if one.guest == guest and kind in (None, one.kind)]

    def remove(self, identity: str) -> None:
        """It was closed; nothing when that is known."""
        with self._lock:
            console = self._open.pop(identity, None)
            if console is not None and console.writes:
                self._announce(console)

    def forget(self, holder: object) -> None:
        """A gateway's line is gone. Its consoles may go on; it will tell when it is back."""
        with self._lock:
            self._open = {key: one for key, one in self._open.items() if one.holder is not holder}

    def end(self, key: str, reason: str = "the session has ended") -> int:
        """A session ("session:ID") has ended, or a token was revoked: close what it has open. Returns how many."""
        with self._lock:
            found = [one for one in self._open.values() if key and one.key == key]
        for one in found:
            self.remove(one.id)
            one.close(SESSION_ENDED, reason)
        return len(found)

    def _announce(self, changed: Console) -> None:
        """Tell the others who writes now."""
        writer = self.writer(changed.guest, changed.kind)
        event = {"event": "writer", "writer": writer.user if writer else None}
        _tell((one for one in self.of(changed.guest, changed.kind) if one is not changed), event)


def _tell(consoles: Iterable[Console], event: dict[str, Any]) -> None:
    for console in consoles:
        console.tell(event)
