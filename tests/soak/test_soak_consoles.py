"""Load through one gateway: 200 serial lines that are typed on, 20 screens that change, 100 browsers that follow events
while 1,000 guests change. Nothing is lost, nobody is closed."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skep.websocket import WebSocket

sys.path.insert(0, str(Path(__file__).parents[1] / "linux"))
import test_consoles
import test_screens

LINES, SCREENS, BROWSERS, GUESTS = 200, 20, 100, 1000


def together(works: list[Callable[[], None]]) -> None:
    """All at once; raises what one of them raised."""
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def resident(site: test_consoles.Site) -> int:
    assert site.gateway is not None
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{site.gateway.pid}/status").read_text())
    assert found
    return int(found[1]) << 10


def test_many_lines_and_screens() -> None:
    with test_consoles.made() as site:
        site.command("screen web on")
        writer = site.open(site.ticket(write=True))
        writer.read_until(b"starts")
        before = resident(site)
        lines = [site.open(site.ticket()) for _ in range(LINES - 1)]
        print(f"{(resident(site) - before) / len(lines) / 1000:.0f} kB for an idle line")
        eyes = [test_screens.Eye(site) for _ in range(SCREENS)]
        shown = test_screens.shown(site)
        together([lambda eye=eye: eye.picture.until(shown) for eye in eyes])  # type: ignore[misc]
        for number in range(50):
            writer.socket.send(b"typed %d\r\n" % number)
            site.command(f"screen web paint {number} {number} 200 100")
        end = b"typed 49\r\n"
        shown = test_screens.shown(site)
        works: list[Any] = [lambda line=line: line.read_until(end) for line in (writer, *lines)]
        works += [lambda eye=eye: eye.picture.until(shown) for eye in eyes]
        together(works)
        wanted = b"".join(b"typed %d\r\n" % number for number in range(50))
        assert all(line.data.endswith(wanted) for line in (writer, *lines))
        assert site.command("screen web served") == "1"
        print(f"{resident(site) >> 20} MiB of memory with {LINES} lines and {SCREENS} screens")


def test_many_browsers_follow_many_guests() -> None:
    with test_consoles.made() as site:
        sockets = [WebSocket(site.target, "/v1/events", {"after": -1}) for _ in range(BROWSERS)]
        wanted = [f"guest/g{number}" for number in range(GUESTS)]

        def follow(socket: WebSocket) -> None:
            seen: list[str] = []
            while len(seen) < GUESTS:
                pieces = socket.receive()
                assert pieces, f"closed with {socket.code}"
                events = [json.loads(piece) for piece in pieces]
                seen += [event["ref"] for event in events if event["kind"] == "guest.started"]
            assert seen == wanted

        site.command(f"change {GUESTS}")
        together([lambda socket=socket: follow(socket) for socket in sockets])  # type: ignore[misc]
