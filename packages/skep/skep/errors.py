"""What can go wrong for a client, in words for people: what happened, what to do next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class ClientError(Exception):
    """Base of what the client raises. hint: what to do next."""

    detail: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.detail}; {self.hint}" if self.hint else self.detail


class Unreachable(ClientError):
    """No answer: nobody listens, the name is unknown, the certificate is not trusted, the line is down."""


class Misconfigured(ClientError):
    """The client's own settings cannot be used: a token file that others can read, an address without a meaning."""


@dataclass
class Refused(ClientError):
    """The server answered that it will not. errors: all that is wrong with a definition, each with file and line."""

    status: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    __str__ = ClientError.__str__
