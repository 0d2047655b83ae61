"""The gateway's line to skepd about consoles: who may open one, descriptors, and what is to be closed.

What is open goes on while skepd is away: bytes do not pass it. When it is back it is told what is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from pathlib import Path
from typing import Any, Protocol

from skepd.api.consoles.packets import Message, Packets

FIRST, LAST = 0.1, 2.0
"""Seconds between attempts to reach a skepd that is away."""
PATIENCE = 150.0
"""Seconds for an answer; a guard may be late when its VMM is."""


class Away(ConnectionError):
    """skepd does not answer."""

    def __init__(self) -> None:
        super().__init__("skepd does not answer on this host")


class Refused(Exception):
    """skepd's refusal, as it would be over HTTP. runs: whether the guest runs."""

    def __init__(self, answer: Message) -> None:
        super().__init__(str(answer["detail"]))
        self.status = int(answer["refused"])
        self.headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer["headers"]]
        self.body = str(answer["body"]).encode()
        self.runs = bool(answer["runs"])


class Held(Protocol):
    """An open console, as this line knows it. description: as skepd gave it."""

    description: dict[str, Any]

    def close(self, code: int, reason: str) -> None: ...

    def tell(self, event: dict[str, Any]) -> None: ...


class Control:
    """path: of skepd's second socket. Belongs to one event loop, from the first use on."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._packets: Packets | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[Message, list[int]]]] = {}
        self._held: dict[str, Held] = {}
        self._again: asyncio.Task[None] | None = None
        self._pause = FIRST

    async def admit(self, **asked: Any) -> Message:
        """Raises Refused, Away, TooLong."""
        answer, _ = await self._ask({"do": "admit", **asked})
        return answer

    async def line(self, console: str, offset: int) -> tuple[Message, socket.socket]:
        """A console's line or screen. Raises Refused, Away."""
        answer, descriptors = await self._ask({"do": "line", "console": console, "offset": offset})
        if len(descriptors) != 1:
            _close_all(descriptors)
            raise Away
        connection = socket.socket(fileno=descriptors[0])
        connection.setblocking(False)
        return answer, connection

    async def history(self, console: str, offset: int, length: int) -> Message:
        answer, _ = await self._ask({"do": "history", "console": console, "offset": offset, "length": length})
        return answer

    def hold(self, held: Held) -> None:
        self._held[str(held.description["id"])] = held

    def release(self, held: Held) -> None:
        """It is closed."""
        identity = str(held.description["id"])
        if self._held.pop(identity, None) is not None and self._packets is not None:
            self._packets.send({"do": "closed", "console": identity})

    async def _ask(self, message: Message) -> tuple[Message, list[int]]:
        if self._packets is None and not self._connect():
            self._come_back()
            raise Away
        assert self._packets is not None
        number = next(self._numbers)
        future: asyncio.Future[tuple[Message, list[int]]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._packets.send({"id": number, **message})
            async with asyncio.timeout(PATIENCE):
                answer, descriptors = await future
        except TimeoutError:
            raise Away from None
        finally:
            self._waiting.pop(number, None)
        if "refused" in answer:
            _close_all(descriptors)
            raise Refused(answer)
        return answer, descriptors

    def _connect(self) -> bool:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.setblocking(False)
            connection.connect(self._path)
        except OSError:
            connection.close()
            return False
        self._packets = Packets(connection, self._received, self._lost)
        for held in list(self._held.values()):
            self._packets.send({"do": "keep", "console": held.description})
        return True

    def _come_back(self) -> None:
        if self._again is None or self._again.done():
            self._again = asyncio.get_running_loop().create_task(self._until_back())

    async def _until_back(self) -> None:
        """A skepd that closes the connection at once is not asked faster than one that is away."""
        while self._packets is None:
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, LAST)
            if self._packets is None:
                self._connect()

    def _lost(self) -> None:
        self._packets = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Away())
        with contextlib.suppress(RuntimeError):  # the loop is being closed
            self._come_back()

    def _received(self, message: Message, descriptors: list[int]) -> None:
        self._pause = FIRST
        future = self._waiting.get(message.get("id", 0))
        if future is not None and not future.done():
            future.set_result((message, descriptors))
            return
        _close_all(descriptors)
        if isinstance(message.get("console"), dict) and self._packets is not None:
            # Whoever asked for it is gone.
            self._packets.send({"do": "closed", "console": message["console"]["id"]})
            return
        held = self._held.get(str(message.get("console", "")))
        if held is None:
            return
        if message.get("do") == "close":
            held.close(int(message["code"]), str(message["reason"]))
        elif message.get("do") == "tell":
            held.tell(message["event"])


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
