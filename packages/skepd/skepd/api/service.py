"""What every request needs: the engine, its threads, tokens, accounts, the authoriser, the stream of events."""

from __future__ import annotations

from skep.wire import Role

from skepd.engine.contract import Engine

from .authorise import Authoriser
from .consoles.registry import Registry
from .consoles.tickets import Tickets
from .events import EventHub
from .tokens import TokenStore
from .workers import Workers


class Service:
    def __init__(self, engine: Engine, tokens: TokenStore, authoriser: Authoriser) -> None:
        self.engine = engine
        self.tokens = tokens
        self.authoriser = authoriser
        self.access = authoriser.access
        self.endings = authoriser.access.endings
        self.workers = Workers()
        self.consoles = Registry()
        self.tickets = Tickets()
        self.hub = EventHub(engine, self.workers)
        self.endings.follow(self._ended)

    def valid(self, key: str) -> bool:
        """Whether a session or token, by its key (see `Caller`), is still there."""
        kind, _, identity = key.partition(":")
        if kind == "session":
            return any(session.key == key for session in self.access.sessions.all())
        return not key or any(token.id == identity for token in self.tokens.all())

    def role(self, key: str) -> Role | None:
        """What the holder of a session or token may do now; None when it has ended, and for an empty key."""
        kind, _, identity = key.partition(":")
        if kind == "token":
            return next((token.role for token in self.tokens.all() if token.id == identity), None)
        session = next((session for session in self.access.sessions.all() if session.key == key), None)
        user = self.access.users.find(session.user) if session else None
        return user.role if session and user and user.id == session.owner else None

    def _ended(self, key: str, reason: str) -> None:
        self.tickets.drop(key)
        self.consoles.end(key, reason)
