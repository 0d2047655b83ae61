"""Tokens of callers that cannot set headers on a WebSocket: browsers offer `skep` and `skep.token.TOKEN`."""

from __future__ import annotations

from collections.abc import Iterable

SUBPROTOCOL = "skep"
_PREFIX = "skep.token."


def offered_token(subprotocols: Iterable[str]) -> str | None:
    """The token among the offered subprotocols, if there is one."""
    return next((word.removeprefix(_PREFIX) for word in subprotocols if word.startswith(_PREFIX)), None)
