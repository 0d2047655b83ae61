"""The picture that the gateway keeps of a real QEMU's screen, pixel for pixel what QEMU tells another viewer."""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests_lab import SAFETY, Lab, lab
from skep_helper.vocabulary.guest import OpenScreen
from skepd.gateway.rfb.picture import Rect
from skepd.gateway.rfb.source import Source

sys.path.insert(0, str(Path(__file__).parents[1]))
import rfb_peers

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs QEMU"),
]
RETURN = 0xFF0D


@pytest.fixture
def site() -> Iterator[Lab]:
    with lab() as made:
        yield made


def told(connection: socket.socket) -> rfb_peers.Picture:
    """What QEMU tells a plain viewer now."""
    eye = rfb_peers.Picture(lambda length: rfb_peers.exactly(connection, length), connection.sendall)
    eye.update()
    return eye


async def follow(site: Lab) -> None:
    changes = asyncio.Event()
    source = Source(lambda _mask: changes.set(), changes.set, lambda: None)
    connection = site.open(OpenScreen(guest="g"))
    connection.setblocking(False)
    running = asyncio.ensure_future(source.run(connection))
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(SAFETY):
        while True:
            source.want()
            await changes.wait()
            changes.clear()
            assert not running.done()
            picture = source.picture
            assert picture is not None
            pixels = picture.cut(Rect(0, 0, picture.width, picture.height))
            if len({pixels[at : at + 4] for at in range(0, len(pixels), 400)}) < 3:
                continue  # nothing is shown yet
            with site.open(OpenScreen(guest="g")) as other:
                eye = await loop.run_in_executor(None, told, other)
            if (eye.width, eye.height) == (picture.width, picture.height) and eye.pixels == pixels:
                break
            changes.set()
            await asyncio.sleep(0.2)
        # A key that is typed is seen: the shell goes on to another line.
        await asyncio.sleep(0)
        for down in (1, 0):
            source.send(struct.pack(">BBHI", 4, down, 0, RETURN))
        serial = picture.serial
        while picture.serial == serial and source.picture is picture:
            source.want()
            await asyncio.sleep(0.1)
    assert source.extended_keys
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_the_picture_is_qemus(site: Lab) -> None:
    site.start("g", screen=True)
    asyncio.run(follow(site))
