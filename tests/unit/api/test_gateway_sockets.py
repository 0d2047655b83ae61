"""Sockets, screens and the plain door of the gateway, each alone: what a caller can make them keep, or do."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from skepd.gateway import screens
from skepd.gateway.challenge_door import ChallengeDoor
from skepd.gateway.frames import PING, PONG, frame, header, unmask
from skepd.gateway.rfb.encodings import RAW
from skepd.gateway.rfb.picture import Picture, Rect
from skepd.gateway.rfb.pixels import Format
from skepd.gateway.screens import Screen, Seat
from skepd.gateway.websocket import FAULT, HIGH_WATER, Socket

HANDSHAKE = (
    b"GET /v1/guests/web/screen HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Wire(asyncio.Transport):
    """To a browser that reads nothing until it is told to: what was written stays."""

    def __init__(self, socket: Socket) -> None:
        super().__init__()
        self.kept = bytearray()
        self._socket = socket
        self._paused = False

    def write(self, data: Any) -> None:
        self.kept += data
        if len(self.kept) > HIGH_WATER and not self._paused:
            self._paused = True
            self._socket.pause_writing()

    def read(self) -> bytes:
        data = bytes(self.kept)
        self.kept.clear()
        self._paused = False
        self._socket.resume_writing()
        return data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def accepted() -> tuple[Socket, Wire]:
    async def serve(socket: Socket) -> None:
        socket.accept()

    socket = Socket(serve, SimpleNamespace(connections=set()), "localhost")
    wire = Wire(socket)
    socket.connection_made(wire)
    socket.data_received(HANDSHAKE)
    while not socket.open:
        await asyncio.sleep(0)
    wire.kept.clear()
    return socket, wire


def ping(payload: bytes) -> bytes:
    sent = bytearray(header(PING, len(payload)))
    sent[1] |= 0x80
    return bytes(sent) + b"mask" + unmask(payload, b"mask")


def test_pings_of_who_does_not_read_are_not_kept() -> None:
    async def run() -> None:
        socket, wire = await accepted()
        socket.data_received(ping(b"first"))
        assert wire.read() == frame(PONG, b"first")
        for number in range(10_000):
            socket.data_received(ping(b"%0100d" % number))
        assert len(wire.kept) < HIGH_WATER + 200
        wire.read()
        assert bytes(wire.kept) == frame(PONG, b"%0100d" % 9999), "the newest is answered when there is room"

    asyncio.run(run())


class Control:
    """Of a gateway whose guest's screen does not come."""

    async def line(self, *_: object) -> None:
        await asyncio.Event().wait()

    def release(self, _: object) -> None: ...


def seat(socket: Any) -> Seat:
    return Seat(Control(), socket, {"id": "1", "guest": "web", "writes": False})  # type: ignore[arg-type]


def test_formats_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Format] = []
    encode = screens.encode

    def counted(encoding: int, pixels: bytes, width: int, wanted: Format) -> bytes:
        made.append(wanted)
        return encode(encoding, pixels, width, wanted)

    monkeypatch.setattr(screens, "encode", counted)
    monkeypatch.setattr(screens, "KEPT", 500 * 500 * 4 * 3)
    formats = [Format(32, depth, False, True, ((255, 16), (255, 8), (255, 0))) for depth in range(1, 11)]

    async def run() -> None:
        screen = Screen(Control(), "web", lambda _: None)  # type: ignore[arg-type]
        screen.join(seat(None))
        picture, rect = Picture(500, 500), Rect(0, 0, 500, 500)
        for wanted in (*formats, *reversed(formats)):
            assert len((await screen.encoded(picture, rect, RAW, wanted))[2]) == 1_000_000
        screen.leave(next(iter(screen._seats)))

    asyncio.run(run())
    assert made == [*formats, *reversed(formats[:-3])], "the newest three are kept, the others not"


def test_a_seat_that_fails_closes_its_socket(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fails(*_: object) -> bytes:
        raise ValueError("something nobody thought of")

    monkeypatch.setattr(screens, "encode", fails)

    async def run() -> bytes:
        socket, wire = await accepted()
        screen = Screen(Control(), "web", lambda _: None)  # type: ignore[arg-type]
        screen._picture = Picture(10, 10)
        place = seat(socket)
        socket.on_closed = place.leave
        place.sit(screen)
        socket.on_message(2, b"RFB 003.008\n\1\1" + struct.pack(">BBHHHH", 3, 0, 0, 0, 10, 10))
        async with asyncio.timeout(10):
            while socket.open:
                await asyncio.sleep(0)
        assert screen.over, "nobody looks any more"
        return bytes(wire.kept)

    assert struct.pack(">H", FAULT) + b"the gateway failed; the reason is in its log" in asyncio.run(run())
    assert "something nobody thought of" in caplog.text


@pytest.mark.parametrize(
    ("path", "status", "where"),
    [
        (b"/guests", 308, b"https://hive.example/guests"),
        (b"//evil.org/", 308, b"https://hive.example//evil.org/"),
        (b"@evil.org/", 404, None),
        (b".evil.org/", 404, None),
        (b"http://evil.org/", 404, None),
        (b"", 404, None),
    ],
)
def test_the_plain_door_sends_nobody_to_another_host(path: bytes, status: int, where: bytes | None) -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    door: Callable[..., Awaitable[None]] = ChallengeDoor(frozenset({"hive.example"}), 443)
    scope = {"type": "http", "method": "GET", "path": path.decode(), "raw_path": path}
    asyncio.run(door({**scope, "headers": [(b"host", b"hive.example")]}, None, send))
    assert sent[0]["status"] == status
    assert dict(sent[0]["headers"]).get(b"location") == where
