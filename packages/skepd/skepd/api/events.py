"""Events to any number of followers: one thread reads the engine, each follower keeps a number, nobody a queue.

The newest events are in a ring. A follower that fell out of it, because it reads slowly or begins in the past,
reads from the engine instead until it is back in the ring. So memory is bounded whatever followers do.

Events that the engine does not keep are of the moment: of each kind a follower gets the newest, under the number of the
last kept event that it got, so that who comes back by number misses none of those.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import islice

from skepd.engine.contract import Engine, Event

from .workers import Workers

RING = 1024
BATCH = 256
POLL = 2.0
"""Seconds that one reading of the engine waits; bounds how long a shutdown takes."""
HEARTBEAT = 15.0
log = logging.getLogger("skepd.api")


class EventHub:
    """Belongs to one event loop. Reads the engine only while somebody follows."""

    def __init__(self, engine: Engine, workers: Workers) -> None:
        self._engine = engine
        self._workers = workers
        self._pool = ThreadPoolExecutor(1, "skep-events")
        self._ring: deque[Event] = deque(maxlen=RING)
        self._latest: int | None = None
        self._told: dict[str, tuple[int, Event]] = {}
        """By kind, the newest event that is not kept; numbered as they come."""
        self._telling = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Condition()
        self._followers = 0
        self._pump: asyncio.Task[None] | None = None
        engine.listen(self._hear)

    async def past(self, after: int, limit: int) -> list[Event]:
        """At most `limit` events after a number; none for -1."""
        return [] if after < 0 else await self._workers.call(self._read, after, limit, 0.0)

    @asynccontextmanager
    async def following(self, after: int) -> AsyncIterator[AsyncIterator[list[Event]]]:
        """Batches of events after a number; an empty batch every HEARTBEAT seconds of silence.

        -1: from now on. What happens once the context is entered is in them, so enter it before you tell anybody that
        they are followed.
        """
        self._followers += 1
        try:
            await self._start()
            assert self._latest is not None
            yield self._batches(self._latest if after < 0 else after)
        finally:
            self._followers -= 1

    async def _batches(self, position: int) -> AsyncIterator[list[Event]]:
        heard = 0
        """The last event it got of those that are not kept: none, so that the newest come at once."""
        while True:
            batch = await self._after(position, heard)
            if batch:
                position = batch[-1].number
            told = [event for number, event in self._told.values() if number > heard]
            heard = self._telling
            yield batch + [replace(event, number=position) for event in told]

    async def _after(self, position: int, heard: int) -> list[Event]:
        """The next batch; waits for it, or for something that is only told, at most HEARTBEAT seconds."""
        if self._ring and self._ring[0].number > position + 1:
            past = await self._workers.call(self._read, position, BATCH, 0.0)
            if past:
                return past
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT), self._news:
                await self._news.wait_for(lambda: (self._latest or 0) > position or self._telling > heard)
        return list(islice((event for event in self._ring if event.number > position), BATCH))

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._pump is not None and not self._pump.done():
            return
        while batch := await self._workers.call(self._read, self._latest or 0, RING, 0.0):
            self._keep(batch)
        self._latest = self._latest or 0
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._followers:
            try:
                batch = await loop.run_in_executor(self._pool, self._read, self._latest or 0, BATCH, POLL)
            except Exception:
                log.exception("reading events failed; trying again")
                await asyncio.sleep(POLL)
                continue
            if batch:
                async with self._news:
                    self._keep(batch)
                    self._news.notify_all()

    def _hear(self, event: Event) -> None:
        """From a thread of the engine."""
        loop = self._loop
        if loop is None:
            return
        with suppress(RuntimeError):  # the loop has ended: nobody follows any more
            loop.call_soon_threadsafe(self._tell, event)

    def _tell(self, event: Event) -> None:
        self._telling += 1
        self._told[event.kind] = (self._telling, event)
        task = asyncio.get_running_loop().create_task(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()

    def _keep(self, batch: list[Event]) -> None:
        fresh = [event for event in batch if event.number > (self._latest or 0)]
        if fresh:
            self._ring.extend(fresh)
            self._latest = fresh[-1].number

    def _read(self, after: int, limit: int, timeout: float) -> list[Event]:
        return list(islice(self._engine.events(after, timeout), limit))
