"""What every request needs: the engine, its threads, tokens, accounts, the authoriser, the stream of events."""

from __future__ import annotations

from skepd.engine.contract import Engine

from .authorise import Authoriser
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
        self.hub = EventHub(engine, self.workers)
