"""Threads for the synchronous engine: bounded, so that a flood of requests waits here and not in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from .problems import ApiError

P = ParamSpec("P")
T = TypeVar("T")

CALLS = 12
WAITS = 24
STRANGERS = 2
QUEUE = 256


class Workers:
    """Pools: calls, which end soon, waits, which do not, calls of strangers, the audit log; so neither waiters nor
    whoever guesses passwords can hold up a call."""

    def __init__(self) -> None:
        self._calls = _Pool(CALLS, "skep-call")
        self._waits = _Pool(WAITS, "skep-wait")
        self._strangers = _Pool(STRANGERS, "skep-stranger", 16)
        self._records = _Pool(1, "skep-audit", 1 << 20)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of the engine. Raises ApiError 503 when too many calls wait for their turn already."""
        return await self._calls.run(lambda: function(*args, **kwargs))

    async def wait(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for a function that waits, at most a few seconds at a time."""
        return await self._waits.run(lambda: function(*args, **kwargs))

    async def stranger(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for who has not shown a credential yet."""
        return await self._strangers.run(lambda: function(*args, **kwargs))

    async def record(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for the audit log, one after the other and whatever else waits."""
        return await self._records.run(lambda: function(*args, **kwargs))

    def close(self) -> None:
        for pool in (self._calls, self._waits, self._strangers, self._records):
            pool.threads.shutdown(wait=False, cancel_futures=True)


class _Pool:
    """Threads, and how many wait for one or have one."""

    def __init__(self, size: int, name: str, queue: int = QUEUE) -> None:
        self.threads = ThreadPoolExecutor(size, name)
        self._queue = queue
        self._pending = 0

    async def run(self, work: Callable[[], T]) -> T:
        if self._pending >= self._queue:
            raise ApiError(503, "skepd has too many requests to answer", "try again in a moment", {"Retry-After": "2"})
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, work)
        finally:
            self._pending -= 1
