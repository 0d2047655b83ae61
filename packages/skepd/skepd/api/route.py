"""The pieces that a route is made of: what it takes, what it answers, whom it serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from skep.wire import NoQuery, Role
from starlette.datastructures import Headers

from skepd.access.access import Access
from skepd.engine.contract import Engine, Operation
from skepd.plan.steps import Plan

from .authorise import Caller
from .consoles.registry import Registry
from .consoles.tickets import Tickets
from .tokens import TokenStore
from .visitor import SAFE, Visitor

T = TypeVar("T")


@dataclass
class Trace:
    """What the audit log says of a call. who: empty for nobody known. proven: whether he showed that he is `who`; else
    it is the name that somebody tried."""

    who: str = ""
    proven: bool = False
    via: str = ""
    peer: str = ""
    written: bool = False


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, decoded and authorised. body and query have the types that the route names.

    known: None on a public route. secret: what the session's cookie carries, if there is one.
    """

    engine: Engine
    tokens: TokenStore
    consoles: Registry
    tickets: Tickets
    access: Access
    known: Caller | None
    came: Visitor
    secret: str | None
    trace: Trace
    params: Mapping[str, str]
    query: Any
    body: Any
    headers: Headers

    @property
    def caller(self) -> Caller:
        assert self.known is not None, "a public route knows no caller"
        return self.known

    @property
    def name(self) -> str:
        return self.params["name"]

    def query_as(self, kind: type[T]) -> T:
        assert isinstance(self.query, kind)
        return self.query

    def body_as(self, kind: type[T]) -> T:
        assert isinstance(self.body, kind)
        return self.body


@dataclass(frozen=True)
class Answer:
    """content: encoded as JSON unless it is bytes; None: no content."""

    content: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], "Answer | Operation | Plan"]
"""Runs in a thread. An Operation becomes 202 with its Location, or 200 once it has ended (`?wait=`); a Plan is 200."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """A row of the route table.

    body: None, a Struct, or a class of the model. answer: what a success carries; `many`: a list of it; Operation:
    long work. role None: public: any stranger may call it. media: of an answer that is bytes. websocket: what the
    connection carries once upgraded.
    """

    method: str
    path: str
    summary: str
    role: Role | None
    answer: Any
    handler: Handler | None = None
    many: bool = False
    body: type | None = None
    query: type = NoQuery
    status: int = 200
    media: str = "application/json"
    conditional: bool = False
    websocket: str = ""

    @property
    def changes(self) -> bool:
        """Whether a call may change something: it must come from a page of ours, and gets into the audit log."""
        return self.method not in SAFE

    @property
    def tag(self) -> str:
        return self.path.removeprefix("/v1").split("/")[1]
