"""A guest's serial line in a browser: bytes from its guard's descriptor, at the pace of the slower side.

When the line ends it is asked for again from the byte after the last, so that a guard that was killed, or a guest that
was stopped and started, costs no byte and doubles none.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from skepd.api.consoles.registry import FAULT, GUEST_STOPPED, RESTARTING

from .admission import asked
from .control import Away, Control, Refused
from .frames import BINARY
from .line import Line
from .websocket import Shared, Socket

PIECE = 32_768
PAUSES = (0.05, 0.1, 0.2, 0.5, *(1.0,) * 20)
"""Seconds between attempts to have a line back while its guest runs."""


async def serve_serial(control: Control, socket: Socket) -> None:
    """From the request to the end of the console."""
    question = asked(socket)
    try:
        admitted = await control.admit(**question)
    except Refused as refusal:
        socket.reject(refusal.status, refusal.headers, refusal.body)
        return
    except Away as away:
        socket.refuse(502, str(away))
        return
    console = Serial(control, socket, admitted["console"], int(admitted["offset"]))
    control.hold(console)
    socket.on_closed = console.leave
    if socket.gone:
        console.leave()
        return
    await console.run(by_ticket="ticket=" in question["query"])


class Serial:
    """An open console. description: as skepd gave it. offset: of the next byte for the browser."""

    def __init__(self, control: Control, socket: Socket, description: dict[str, Any], offset: int) -> None:
        self.description = description
        self.offset = offset
        self._control = control
        self._socket = socket
        self._line: Line | None = None
        self._writes = False
        self._returning: asyncio.Task[None] | None = None

    async def run(self, *, by_ticket: bool) -> None:
        """by_ticket: a page opens it, which learns more from a close code than from a refused handshake."""
        if by_ticket:
            self._socket.accept()
        try:
            await self._open()
        except Refused as refusal:
            if self._socket.open:
                self._end(FAULT if refusal.runs else GUEST_STOPPED, str(refusal))
            else:
                self._socket.reject(refusal.status, refusal.headers, refusal.body)
                self.leave()
        except Away as away:
            self._end(RESTARTING, str(away))

    async def _open(self) -> None:
        """Have the line, tell the browser what it is, and let the bytes pass. Raises Refused, Away.

        What is typed meanwhile waits in the transport.
        """
        self._socket.pause_reading()
        answer, connection = await self._control.line(self.description["id"], self.offset)
        try:
            if not self._socket.open:
                self._socket.accept()
                self._socket.pause_reading()
            notice = answer["notice"]
            self._writes = not notice["read_only"]
            self.offset = int(answer["first"])
            self._socket.send_text({**notice, "offset": self.offset})
            await self._past(int(answer["begins"]))
            self._line = Line(connection, self._output, self._ended, self._full)
        except BaseException:
            connection.close()
            raise
        self._socket.on_writable = self._pace
        self._pace(self._socket.writable)
        self._socket.on_message = self._typed
        self._socket.resume_reading()
        if not self._socket.open:
            self.leave()

    async def _past(self, end: int) -> None:
        """What a guard of an older version does not give: the history up to where its line begins."""
        while self.offset < end:
            answer = await self._control.history(self.description["id"], self.offset, min(end - self.offset, PIECE))
            data = base64.b64decode(answer["data"])
            if not data:
                return
            self.offset = int(answer["offset"]) + len(data)
            self._socket.send(data)
            await self._socket.room()

    def _output(self, shared: Shared, length: int) -> None:
        self.offset += length
        self._socket.send_shared(shared, length)

    def _pace(self, writable: bool) -> None:
        if self._line is not None:
            self._line.read(writable)

    def _full(self, full: bool) -> None:
        """The guest does not take what is typed."""
        (self._socket.pause_reading if full else self._socket.resume_reading)()

    def _typed(self, opcode: int, payload: bytes) -> None:
        if opcode == BINARY and self._writes and self._line is not None:
            self._line.write(payload)

    def _ended(self) -> None:
        """The line ended: by the guest, by its guard, or because somebody takes it over (who tells that himself)."""
        self._line = None
        if self._socket.open:
            self._returning = asyncio.get_running_loop().create_task(self._again())

    async def _again(self) -> None:
        for pause in PAUSES:
            await asyncio.sleep(pause)
            if not self._socket.open:
                return
            try:
                await self._open()
            except Refused as refusal:
                if not refusal.runs:
                    self._end(GUEST_STOPPED, str(refusal))
                    return
            except Away as away:
                self._end(RESTARTING, str(away))
                return
            else:
                return
        self._end(FAULT, "the line does not come back")

    def _end(self, code: int, reason: str) -> None:
        if self._socket.open:
            self._socket.send_text({"event": "ended", "reason": reason})
        self._socket.close(code, reason)
        self.leave()

    # --- as the control line sees it ---

    def close(self, code: int, reason: str) -> None:
        self._end(code, reason)

    def tell(self, event: dict[str, Any]) -> None:
        if self._socket.open:
            self._socket.send_text(event)

    def leave(self) -> None:
        """The browser is gone, or was told to go."""
        self._control.release(self)
        if self._line is not None:
            self._line.close()
            self._line = None
