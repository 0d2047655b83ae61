"""Serial lines through the gateway: tickets, taking over, endings, and absences of each part, with nothing lost."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from skep.client import Client
from skep.errors import Refused, Unreachable
from skep.settings import Target
from skep.websocket import WebSocket

PAGE = "http://page"
SAFETY = 120.0


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SAFETY
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
    return value


class Site:
    """skepd over a simulated host, and a gateway: two processes, each of which may go and come back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "skepd.sock"
        self.host = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("console_host.py")), str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.host.stdout is not None
        self.token = self.host.stdout.readline().strip()
        self.port = free_port()
        self.gateway: subprocess.Popen[bytes] | None = None
        self.start_gateway()

    def start_gateway(self) -> None:
        argv = [sys.executable, "-m", "skepd.gateway.main", "--plain", "--listen", f"127.0.0.1:{self.port}"]
        user = ["--user", "nobody"] if os.geteuid() == 0 else []
        self.gateway = subprocess.Popen([*argv, "--socket", str(self.socket), "--state", str(self.folder), *user])
        until(lambda: self.answers() or self.gateway is None or self.gateway.poll() is not None)

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False

    def stop_gateway(self, number: int = signal.SIGTERM) -> None:
        assert self.gateway is not None
        self.gateway.send_signal(number)
        self.gateway.wait(60)

    def command(self, text: str) -> str:
        """To the host's process: see console_host.py."""
        assert self.host.stdin is not None
        assert self.host.stdout is not None
        self.host.stdin.write(text + "\n")
        self.host.stdin.flush()
        return self.host.stdout.readline().strip()

    @property
    def target(self) -> Target:
        return Target(host="127.0.0.1", port=self.port, tls=False, token=self.token)

    def client(self) -> Client:
        return Client(self.target)

    def ticket(self, guest: str = "web", **wanted: Any) -> str:
        body = {"kind": "serial", **wanted}
        answer = self.client().request("POST", f"/v1/guests/{guest}/tickets", body, headers={"Origin": PAGE})
        assert answer.status == 201
        return str(answer.json()["ticket"])

    def open(self, ticket: str, guest: str = "web", after: int | None = None, page: str = PAGE) -> Line:
        query: dict[str, Any] = {"ticket": ticket} if after is None else {"ticket": ticket, "after": after}
        target = Target(host="127.0.0.1", port=self.port, tls=False)
        return Line(WebSocket(target, f"/v1/guests/{guest}/console", query, {"Origin": page}))

    def close(self) -> None:
        self.stop_gateway()
        assert self.host.stdin is not None
        self.host.stdin.close()
        self.host.wait(60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Line:
    """A console as the page has it: data, and what it was told."""

    socket: WebSocket
    data: bytes = b""

    def __post_init__(self) -> None:
        self.notices: list[dict[str, Any]] = []

    def step(self) -> bool:
        found = self.socket.receive()
        for piece in found:
            if isinstance(piece, bytes):
                self.data += piece
            else:
                self.notices.append(json.loads(piece))
        return bool(found)

    def read_until(self, text: bytes) -> None:
        while text not in self.data:
            assert self.step(), f"closed with {self.socket.code} {self.socket.reason} after {self.data[-200:]!r}"

    def end(self) -> int:
        while self.step():
            continue
        return self.socket.code

    @property
    def offset(self) -> int:
        """Of the next byte."""
        return int(self.notices[0]["offset"]) + len(self.data)


@pytest.fixture
def site() -> Iterator[Site]:
    with made() as site:
        yield site


@contextmanager
def made() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="skep-con-") as name:
        os.chmod(name, 0o755)
        made = Site(Path(name))
        try:
            yield made
        finally:
            made.close()


def test_a_ticket_opens_one_console_once_from_its_page(site: Site) -> None:
    ticket = site.ticket(write=True)
    for query, page in ((("db", ticket), PAGE),):
        with pytest.raises(Refused, match="of another console") as caught:
            site.open(query[1], guest=query[0], page=page)
        assert caught.value.status == 401
    with pytest.raises(Refused, match="was used"):
        site.open(ticket)
    with pytest.raises(Refused, match="another page"):
        site.open(site.ticket(), page="http://evil")
    line = site.open(site.ticket(write=True))
    line.read_until(b"web starts\r\n")
    assert line.notices == [{"event": "opened", "read_only": False, "reason": "", "writer": "test", "offset": 0}]
    line.socket.send(bytes(range(256)))
    line.read_until(bytes(range(256)))
    (opened,) = site.client().get("guests", "web", "consoles")
    assert (opened["kind"], opened["user"], opened["writes"], opened["peer"]) == ("serial", "test", True, "127.0.0.1")
    line.socket.close()
    until(lambda: not site.client().get("guests", "web", "consoles"))


def test_the_keyboard_is_taken_over_openly(site: Site) -> None:
    first = site.open(site.ticket(write=True))
    first.read_until(b"starts")
    watcher = site.open(site.ticket())
    watcher.read_until(b"starts")
    with pytest.raises(Refused, match="test types on this console") as caught:
        site.ticket(write=True)
    assert caught.value.status == 409
    second = site.open(site.ticket(write=True, take=True))
    assert (first.end(), first.socket.reason) == (4001, "test has taken the keyboard over")
    second.socket.send(b"mine")
    watcher.read_until(b"mine")
    watcher.socket.send(b"not heard")
    second.socket.close()
    while watcher.notices[-1] != {"event": "writer", "writer": None}:
        assert watcher.step()
    assert b"not heard" not in watcher.data


def test_a_session_that_ends_closes_its_consoles(site: Site) -> None:
    line = site.open(site.ticket(write=True))
    line.read_until(b"starts")
    assert site.command("end") == "1"
    assert line.end() == 4002


def test_a_guest_that_stops_ends_its_consoles_and_says_so(site: Site) -> None:
    line = site.open(site.ticket())
    line.read_until(b"starts")
    site.command("stop web")
    assert line.end() == 4003
    assert line.notices[-1]["event"] == "ended"
    late = site.open(site.ticket())
    assert late.end() == 4003
    with pytest.raises(Refused, match="does not run"):
        WebSocket(site.target, "/v1/guests/web/console")


class Numbers(threading.Thread):
    """A page that follows numbered lines, and comes back with a new ticket where it was."""

    def __init__(self, site: Site) -> None:
        super().__init__(daemon=True)
        self._site = site
        self._over = threading.Event()
        self.data = b""
        self.begin: int | None = None
        self.codes: list[int] = []

    def run(self) -> None:
        while not self._over.is_set():
            with suppress(Refused, Unreachable):
                after = None if self.begin is None else self.begin + len(self.data)
                self._follow(self._site.open(self._site.ticket(), after=after), after)
            time.sleep(0.05)

    def _follow(self, line: Line, after: int | None) -> None:
        while not self._over.is_set() and line.step():
            if self.begin is None:
                self.begin = int(line.notices[0]["offset"])
            assert after in (None, line.notices[0]["offset"])
            self.data += line.data
            line.data = b""
        self.codes.append(line.socket.code)
        line.socket.close()

    def last(self) -> int:
        return int(re.findall(rb"line (\d+)\r\n", self.data)[-1]) if b"line " in self.data else 0

    def finish(self) -> list[int]:
        """All numbers that it saw."""
        self._over.set()
        self.join(60)
        return [int(number) for number in re.findall(rb"line (\d+)\r\n", self.data)]


@pytest.mark.parametrize("absent", ["gateway", "gateway killed", "skepd", "guard"])
def test_numbered_lines_show_no_gap_and_no_double(site: Site, absent: str) -> None:
    page = Numbers(site)
    site.command("count web")
    page.start()
    until(lambda: page.last() > 20)
    absence = float(os.environ.get("SKEP_ABSENCE", "20"))
    if absent.startswith("gateway"):
        site.stop_gateway(signal.SIGKILL if "killed" in absent else signal.SIGTERM)
        time.sleep(absence)
        site.start_gateway()
    elif absent == "skepd":
        site.command("away")
        before = page.last()
        until(lambda: page.last() > before + 20)  # bytes do not pass skepd
        time.sleep(absence)
        site.command("back")
        assert page.codes == []
        until(lambda: len(site.client().get("guests", "web", "consoles")) == 1)
    else:
        site.command("cut web")
    before = page.last()
    until(lambda: page.last() > before + 50)
    if absent == "guard":
        assert page.codes == [], "the gateway asked for the line again"
    if absent == "gateway":
        assert page.codes == [1012]
    numbers = page.finish()
    assert numbers == list(range(1, len(numbers) + 1))


def test_after_an_absence_of_skepd_the_keyboard_is_whose_it_was(site: Site) -> None:
    line = site.open(site.ticket(write=True))
    line.read_until(b"starts")
    site.command("away")
    with pytest.raises((Refused, Unreachable)):
        site.ticket()
    line.socket.send(b"still typing")
    line.read_until(b"still typing")
    site.command("back")
    until(lambda: [one["writes"] for one in site.client().get("guests", "web", "consoles")] == [True])
    with pytest.raises(Refused, match="test types on this console"):
        site.ticket(write=True)


def test_a_reader_that_never_reads_stalls_nobody_and_costs_bounded_memory(site: Site) -> None:
    lazy = site.open(site.ticket())
    assert site.gateway is not None

    def resident() -> int:
        status = Path(f"/proc/{site.gateway.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) << 10

    eager = site.open(site.ticket())
    before = resident()
    site.command("flood web 40")
    eager.read_until(b"flood ends\r\n")
    assert resident() - before < 4 << 20
    assert len(eager.data) > 40 << 20 or eager.notices[-1]["event"] == "opened"
    lazy.socket.close()
    eager.socket.close()


def test_a_typist_is_held_up_while_the_guest_does_not_listen(site: Site) -> None:
    """Whatever is typed ahead is not kept in the gateway without end."""
    site.command("deaf web")
    line = site.open(site.ticket(write=True))
    line.socket._socket.settimeout(2)
    sent = 0
    with suppress(Unreachable):
        while sent < 64 << 20:
            line.socket.send(b"x" * 60_000)
            sent += 60_000
    assert sent < 32 << 20


def test_nonsense_closes_one_console_alone(site: Site) -> None:
    line = site.open(site.ticket())
    line.read_until(b"starts")
    other = site.open(site.ticket())
    line.socket._socket.sendall(b"\x82\x01x")
    assert line.end() == 1002
    other.read_until(b"starts")
    other.socket.close()


def handshake(site: Site, host: str = "page", **headers: str) -> bytes:
    """The status of a console that a stranger asks for."""
    asked = {
        "Host": host, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", **headers,
    }  # fmt: skip
    lines = ["GET /v1/guests/web/console HTTP/1.1", *(f"{name}: {value}" for name, value in asked.items()), "", ""]
    with socket.create_connection(("127.0.0.1", site.port), 60) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        return connection.makefile("rb").readline().split()[1]


def test_what_strangers_say_harms_nobody_else(site: Site) -> None:
    line = site.open(site.ticket(write=True))
    line.read_until(b"starts")
    assert handshake(site) == b"401"
    assert handshake(site, host="xn--p1ai") == b"401"
    assert handshake(site, host="xn--a\xff") == b"401"
    assert handshake(site, Cookie="x" * 9000) == b"431"
    many = {"User-Agent": "\x01" * 8000, "Origin": "\x01" * 8000, "Authorization": "\x01" * 8000}
    assert handshake(site, **many) == b"431"
    assert handshake(site, **{"Sec-WebSocket-Protocol": "x.token.y"}) == b"401"
    line.socket.send(b"goes on")
    line.read_until(b"goes on")
    assert len(site.client().get("guests", "web", "consoles")) == 1
