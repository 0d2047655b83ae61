"""Screens through the gateway: many viewers of a screen that serves one, pixel for pixel; one keyboard; endings."""

from __future__ import annotations

import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from skep.settings import Target
from skep.websocket import WebSocket

sys.path.insert(0, str(Path(__file__).parents[1]))
from rfb_peers import DESKTOP_SIZE, RAW, ZLIB, ZRLE, Picture
from test_consoles import PAGE, Site, made, until

KEY = b"\4\1\0\0\0\0\0"


class Eye:
    """A viewer through a WebSocket."""

    def __init__(self, site: Site, encoding: int = ZRLE, **wanted: Any) -> None:
        ticket = site.ticket(kind="screen", **wanted)
        target = Target(host="127.0.0.1", port=site.port, tls=False)
        self.socket = WebSocket(target, "/v1/guests/web/screen", {"ticket": ticket}, {"Origin": PAGE})
        self._data = bytearray()
        self.picture = Picture(self.receive, self.socket.send, (encoding, RAW, DESKTOP_SIZE))

    def receive(self, length: int) -> bytes:
        while len(self._data) < length:
            pieces = self.socket.receive()
            if not pieces:
                raise EOFError(f"closed with {self.socket.code} {self.socket.reason}")
            for piece in pieces:
                assert isinstance(piece, bytes)
                self._data += piece
        data = bytes(self._data[:length])
        del self._data[:length]
        return data

    def end(self) -> int:
        """Look on until it is closed; returns the code."""
        with suppress(EOFError):
            while True:
                self.picture.update()
        return self.socket.code


@pytest.fixture
def site() -> Iterator[Site]:
    with made() as site:
        site.command("screen web on")
        yield site


def shown(site: Site) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        site.command(f"screen web picture {file.name}")
        return Path(file.name).read_bytes()


@pytest.mark.parametrize("packed", ["packed", "raw"])
def test_many_see_every_pixel_of_a_screen_that_serves_one(site: Site, packed: str) -> None:
    site.command(f"screen web on {packed}")
    first = Eye(site, ZLIB, write=True)
    first.picture.until(shown(site))
    for number in range(5):
        site.command(f"screen web paint {number * 40} 30 70 90")
        first.picture.until(shown(site))
    late = [Eye(site, encoding) for encoding in (RAW, ZLIB, ZRLE)]
    for eye in late:
        eye.picture.until(shown(site))
    site.command("screen web paint 5 5 290 190")
    for eye in (first, *late):
        eye.picture.until(shown(site))
    assert site.command("screen web served") == "1"
    assert len(site.client().get("guests", "web", "consoles")) == 4
    for eye in (first, *late):
        eye.socket.close()
    until(lambda: not site.client().get("guests", "web", "consoles"))
    again = Eye(site)
    again.picture.until(shown(site))
    assert site.command("screen web served") == "2"


def test_one_types_and_the_keyboard_is_taken_over_openly(site: Site) -> None:
    first, watcher = Eye(site, write=True), Eye(site)
    for eye, letter in ((watcher, b"w"), (first, b"f")):
        eye.picture.until(shown(site))
        eye.socket.send(KEY + letter)
    until(lambda: site.command("screen web heard"))
    second = Eye(site, write=True, take=True)
    assert first.end() == 4001
    assert first.socket.reason == "test has taken the keyboard over"
    second.socket.send(KEY + b"s")
    until(lambda: site.command("screen web heard") == (KEY + b"f" + KEY + b"s").hex())
    site.command("screen web paint 0 0 100 100")
    watcher.picture.until(shown(site))


def test_a_new_size_and_a_reboot_are_followed(site: Site) -> None:
    eye = Eye(site)
    eye.picture.until(shown(site))
    site.command("screen web resize 400 130")
    eye.picture.until(shown(site))
    assert (eye.picture.width, eye.picture.height) == (400, 130)
    site.command("screen web reboot")
    site.command("screen web paint 10 10 100 100")
    eye.picture.until(shown(site))
    assert site.command("screen web served") == "2"


def test_a_viewer_that_does_not_read_holds_nobody_up(site: Site) -> None:
    lazy, eager = Eye(site, RAW), Eye(site)
    for number in range(30):
        site.command(f"screen web paint {number} {number} 250 150")
        lazy.picture.ask(0)
        eager.picture.until(shown(site))
    lazy.picture.until(shown(site))


def test_endings(site: Site) -> None:
    eye = Eye(site, write=True)
    eye.picture.until(shown(site))
    assert site.command("end") == "1"
    assert eye.end() == 4002
    other = Eye(site)
    other.picture.until(shown(site))
    site.command("away")
    time.sleep(0.1)
    other.socket.send(struct.pack(">BBHHHH", 3, 0, 0, 0, 9, 9))
    assert other.picture.update() == [ZRLE], "skepd is not needed"
    site.command("back")
    site.stop_gateway()
    assert other.end() == 1012
    site.start_gateway()
    again = Eye(site)
    again.picture.until(shown(site))
    again.socket.send(b"\x63")
    assert again.end() == 1002
