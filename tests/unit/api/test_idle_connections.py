"""Connections that ask nothing are ended; who waits holds up nobody who calls."""

from __future__ import annotations

import asyncio
import threading

import pytest
from running_api import Running
from skepd.api import watchful, workers
from skepd.api.problems import ApiError


@pytest.fixture
def impatient(running: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setattr(watchful, "REQUEST_HEAD", 0.2)
    running.server.config.timeout_keep_alive = 0.2  # type: ignore[assignment]
    return running


@pytest.mark.parametrize(
    ("asked", "more"),
    [
        (b"", b""),
        (b"", b"GET /v1/ho"),
        (b"GET /v1/host HTTP/1.1\r\nHost: x\r\n\r\n", b"G"),
        (b"POST /v1/nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", b"{"),
    ],
)
def test_one_that_asks_nothing_more_is_ended(impatient: Running, asked: bytes, more: bytes) -> None:
    with impatient.connect() as connection:
        if asked:
            connection.sendall(asked)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 ")
        if more:
            connection.sendall(more)
        while connection.recv(65_536):
            pass


def test_many_who_wait_hold_up_no_call() -> None:
    free = threading.Event()

    async def all_wait() -> None:
        pools = workers.Workers()
        try:
            waiting = [asyncio.ensure_future(pools.wait(free.wait, 60)) for _ in range(workers.QUEUE)]
            await asyncio.sleep(0)
            with pytest.raises(ApiError):
                await pools.wait(free.wait, 60)
            assert await pools.call(lambda: "answered") == "answered"
            free.set()
            await asyncio.gather(*waiting)
        finally:
            free.set()
            pools.close()

    asyncio.run(all_wait())
