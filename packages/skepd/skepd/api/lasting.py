"""Streams that end with what their caller came by: his session, his token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from starlette.requests import HTTPConnection

from .consoles.registry import SESSION_ENDED
from .service import Service

T = TypeVar("T")


async def while_valid(service: Service, connection: HTTPConnection, items: AsyncIterator[T]) -> AsyncIterator[T]:
    """The items until the session or token of the connection's caller ends. Raises ApiError if it has ended before."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell(_reason: str) -> None:
        loop.call_soon_threadsafe(ended.set)

    caller = await service.workers.call(service.authoriser.caller, connection)
    with service.endings.watch(caller.key, tell):
        await service.workers.call(service.authoriser.caller, connection)  # it may have ended just before
        gone = asyncio.ensure_future(ended.wait())
        try:
            while (item := await _next_unless(gone, items)) is not None:
                yield item
        finally:
            gone.cancel()


async def _next_unless(gone: asyncio.Future[Any], items: AsyncIterator[T]) -> T | None:
    """The next item; None when there is none, or `gone` is done first."""
    coming = asyncio.ensure_future(_next(items))
    try:
        await asyncio.wait((coming, gone), return_when=asyncio.FIRST_COMPLETED)
        return None if gone.done() else coming.result()
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def _next(items: AsyncIterator[T]) -> T | None:
    return await anext(items, None)


__all__ = ["SESSION_ENDED", "while_valid"]
