"""What the commands share: the server, made when the first request needs it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from skep.client import Client
    from skep.settings import Target


class Session:
    """The server that the command line means. Raises Misconfigured when first used."""

    def __init__(self, url: str | None, ca: str | None, token_file: str | None) -> None:
        self._where = (url, ca, token_file)

    @cached_property
    def target(self) -> Target:
        from skep.settings import resolve

        return resolve(*self._where)

    @cached_property
    def client(self) -> Client:
        from skep.client import Client

        return Client(self.target)

    def get(self, *words: str, **query: Any) -> Any:
        return self.client.get(*words, **query)


pass_session = click.make_pass_decorator(Session)
