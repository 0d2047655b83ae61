"""Screens of guests in browsers: one connection to each VMM, and any number of viewers, one of whom types.

A viewer that reads slowly owes nobody anything: what changes meanwhile is one mask of tiles, sent when he asks again.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from skepd.api.consoles.registry import FAULT, GUEST_STOPPED, RESTARTING

from .admission import asked
from .control import Away, Control, Refused
from .frames import BINARY, WRONG
from .rfb.encodings import encode
from .rfb.picture import Picture, Rect
from .rfb.pixels import Format
from .rfb.source import Broken, Source
from .rfb.viewer import Encoded, Nonsense, Viewer
from .websocket import Socket

PAUSES = (0.1, 0.2, 0.5, *(1.0,) * 20)
"""Seconds between attempts to have a screen back while its guest runs."""
LARGE = 64 * 1024
"""Bytes of pixels from which encoding is a thread's work, so that no console waits for it."""
PIECE = 128 * 1024
KEPT = 16 << 20
"""Bytes of encoded parts that are kept for viewers who want the same, counted as they are before they are packed."""
log = logging.getLogger("skepd.gateway")
Part = tuple[Rect, int, Format]
"""What of a picture, in which encoding and format."""
_ENDS = (Broken, OSError, asyncio.IncompleteReadError, TimeoutError)


class Screens:
    """Of all guests that somebody looks at."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._screens: dict[str, Screen] = {}

    async def serve(self, socket: Socket) -> None:
        """From the request to the end of a viewer."""
        question = asked(socket)
        try:
            admitted = await self._control.admit(**question)
        except Refused as refusal:
            socket.reject(refusal.status, refusal.headers, refusal.body)
            return
        except Away as away:
            socket.refuse(502, str(away))
            return
        guest = str(admitted["console"]["guest"])
        seat = Seat(self._control, socket, admitted["console"])
        self._control.hold(seat)
        socket.on_closed = seat.leave
        if socket.gone:
            seat.leave()
            return
        socket.accept()
        screen = self._screens.get(guest)
        if screen is None or screen.over:
            screen = self._screens[guest] = Screen(self._control, guest, self._gone)
        seat.sit(screen)

    def _gone(self, screen: Screen) -> None:
        if self._screens.get(screen.name) is screen:
            del self._screens[screen.name]


class Screen:
    """One guest's. gone(self): called when nobody looks any more, or there is nothing to see."""

    def __init__(self, control: Control, name: str, gone: Any) -> None:
        self.name = name
        self.over = False
        self._control = control
        self._gone = gone
        self._seats: set[Seat] = set()
        self._picture: Picture | None = None
        self._source = self._new_source()
        self._cache: dict[Part, asyncio.Future[bytes]] = {}
        self._cached: tuple[Picture, int] | None = None
        self._kept = 0
        self._task = asyncio.get_running_loop().create_task(self._run())

    def _new_source(self) -> Source:
        return Source(self._changed, self._resized, self._rang)

    @property
    def picture(self) -> Picture:
        """As it is, or was when the VMM was there last."""
        assert self._picture is not None
        return self._picture

    @property
    def extended_keys(self) -> bool:
        return self._source.extended_keys

    def send(self, event: bytes) -> None:
        self._source.send(event)

    def want(self) -> None:
        self._source.want()

    def join(self, seat: Seat) -> None:
        self._seats.add(seat)
        if self._picture is not None:
            seat.begin()

    def leave(self, seat: Seat) -> None:
        self._seats.discard(seat)
        if not self._seats:
            self._end()
            self._task.cancel()

    def _end(self) -> None:
        self.over = True
        self._gone(self)

    async def _run(self) -> None:
        pauses = iter(PAUSES)
        code, reason = FAULT, "the screen does not come back"
        while self._seats:
            try:
                _, connection = await self._control.line(self._anybody(), 0)
                pauses = iter(PAUSES) if await self._look(connection) else pauses
            except Refused as refusal:
                code, reason = FAULT if refusal.runs else GUEST_STOPPED, str(refusal)
                if not refusal.runs:
                    break
            except Away as away:
                code, reason = RESTARTING, str(away)
                break
            pause = next(pauses, None)
            if pause is None:
                break
            await asyncio.sleep(pause)
        self._end()
        for seat in tuple(self._seats):
            seat.close(code, reason)

    async def _look(self, connection: Any) -> bool:
        """Until the VMM closes it, as at a reboot. Returns whether there was anything to see."""
        source = self._source = self._new_source()
        try:
            await source.run(connection)
        except _ENDS as error:
            log.info("the screen of %s ended: %s", self.name, error or type(error).__name__)
        return source.picture is not None

    def _anybody(self) -> str:
        return str(next(iter(self._seats)).description["id"])

    def _changed(self, mask: int) -> None:
        for seat in tuple(self._seats):
            seat.changed(mask)

    def _resized(self) -> None:
        self._picture = self._source.picture
        for seat in tuple(self._seats):
            seat.begin()
            seat.changed(self.picture.everything)

    def _rang(self) -> None:
        for seat in tuple(self._seats):
            seat.rang()

    async def encoded(self, picture: Picture, rect: Rect, encoding: int, wanted: Format) -> Encoded:
        """A part as it is now. Viewers who want the same at the same time get the same bytes."""
        now = (picture, picture.serial)
        if self._cached != now:
            self._cached, self._cache, self._kept = now, {}, 0
        key = (rect, encoding, wanted)
        part = self._cache.get(key)
        if part is None:
            work = partial(encode, encoding, picture.cut(rect), rect.width, wanted)
            loop = asyncio.get_running_loop()
            if rect.width * rect.height * 4 > LARGE:
                part = asyncio.ensure_future(loop.run_in_executor(None, work))
            else:
                part = loop.create_future()
                part.set_result(work())
            self._keep(key, part)
        return rect, encoding, await asyncio.shield(part)

    def _keep(self, key: Part, part: asyncio.Future[bytes]) -> None:
        """The oldest go, for one picture may be wanted in any number of formats. Who waits for one still gets it."""
        self._cache[key] = part
        self._kept += _size(key)
        while self._kept > KEPT and len(self._cache) > 1:
            oldest = next(iter(self._cache))
            del self._cache[oldest]
            self._kept -= _size(oldest)


def _size(key: Part) -> int:
    rect, _, wanted = key
    return rect.width * rect.height * wanted.bytes


class Seat:
    """A viewer's place before a screen, and his WebSocket. description: as skepd gave it."""

    def __init__(self, control: Control, socket: Socket, description: dict[str, Any]) -> None:
        self.description = description
        self._control = control
        self._socket = socket
        self._screen: Screen | None = None
        self._viewer: Viewer | None = None
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def sit(self, screen: Screen) -> None:
        self._screen = screen
        self._socket.on_message = self._said
        self._socket.pause_reading()
        screen.join(self)

    def begin(self) -> None:
        """There is a picture now."""
        if self._viewer is None and self._screen is not None:
            writes = bool(self.description["writes"])
            self._viewer = Viewer(self._screen, self._socket.send, self._woken.set, writes=writes)
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._socket.resume_reading()

    def changed(self, mask: int) -> None:
        if self._viewer is not None:
            self._viewer.changed(mask)

    def rang(self) -> None:
        if self._viewer is not None and self._socket.writable:
            self._viewer.rang()

    def _said(self, opcode: int, payload: bytes) -> None:
        if opcode != BINARY or self._viewer is None:
            return
        try:
            self._viewer.receive(payload)
        except Nonsense as error:
            self.close(WRONG, str(error))

    async def _run(self) -> None:
        try:
            await self._serve()
        except Exception:
            log.exception("a viewer of the screen of %s failed", self.description["guest"])
            self.close(FAULT, "the gateway failed; the reason is in its log")

    async def _serve(self) -> None:
        viewer, screen = self._viewer, self._screen
        assert viewer is not None
        assert screen is not None
        while self._socket.open:
            await self._woken.wait()
            self._woken.clear()
            await self._socket.room()
            if not self._socket.open:
                return
            try:
                picture, rects = screen.picture, viewer.due()
            except Nonsense as error:
                self.close(WRONG, str(error))
                return
            if rects:
                await self._send(viewer.update(await self._encoded(viewer, screen, picture, rects)))
            elif viewer.waits:
                screen.want()

    async def _encoded(self, viewer: Viewer, screen: Screen, picture: Picture, rects: list[Rect]) -> list[Encoded]:
        """In the format that the viewer wants when it is done: he may change his mind meanwhile."""
        while True:
            wanted, encoding = viewer.format, viewer.encoding
            parts = [await screen.encoded(picture, rect, encoding, wanted) for rect in rects]
            if (wanted, encoding) == (viewer.format, viewer.encoding):
                return parts

    async def _send(self, data: bytes) -> None:
        """In messages of a middling size: a long one would have to be there whole before any of it is seen."""
        for at in range(0, len(data), PIECE):
            await self._socket.room()
            self._socket.send(data[at : at + PIECE])

    # --- as the control line sees it ---

    def close(self, code: int, reason: str) -> None:
        self._socket.close(code, reason)
        self.leave()

    def tell(self, event: dict[str, Any]) -> None:
        """A screen has no place for notices: its frames are RFB."""

    def leave(self) -> None:
        self._control.release(self)
        screen, self._screen = self._screen, None
        if screen is not None:
            screen.leave(self)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
