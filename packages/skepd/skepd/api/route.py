"""The pieces that a route is made of: what it takes, what it answers, whom it serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from skep.wire import NoQuery, Role
from starlette.datastructures import Headers

from skepd.engine.contract import Engine, Operation
from skepd.plan.steps import Plan

from .authorise import Caller
from .tokens import TokenStore

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, decoded and authorised. body and query have the types that the route names."""

    engine: Engine
    tokens: TokenStore
    caller: Caller
    params: Mapping[str, str]
    query: Any
    body: Any
    headers: Headers

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
    long work. media: of an answer that is bytes. websocket: what the connection carries once upgraded.
    """

    method: str
    path: str
    summary: str
    role: Role
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
    def tag(self) -> str:
        return self.path.split("/")[2]
