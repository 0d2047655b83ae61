"""Events and consoles over WebSocket and SSE: order, history, slow readers, refusals before the handshake."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable

import pytest
from fake_engine import FakeEngine
from running_api import Running
from skep.client import Client
from skep.errors import Refused
from skep.settings import Target
from skep.websocket import WebSocket
from skepd.api import events, peers
from skepd.api.authorise import Account


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def target(running: Running, token: str | None = None) -> Target:
    return Target(socket=str(running.socket), token=token)


def read(line: WebSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        found = line.receive()
        assert found, "the line ended"
        data += b"".join(piece for piece in found if isinstance(piece, bytes))
    return data


def open_console(running: Running, **query: bool) -> tuple[WebSocket, dict[str, object]]:
    line = WebSocket(target(running), "/v1/guests/web/console", query)
    pieces = line.receive()
    notice = pieces.pop(0)
    assert isinstance(notice, str)
    line._pending = pieces + line._pending
    return line, json.loads(notice)


def test_a_console_carries_bytes_both_ways_after_its_history(running: Running, engine: FakeEngine) -> None:
    line, notice = open_console(running)
    assert notice == {"event": "opened", "read_only": False, "reason": "", "writer": "root", "offset": 0}
    assert read(line, 9) == b"history\r\n"
    line.send(b"\x00ls\xff\r")
    assert engine.lines[0].recv(100) == b"\x00ls\xff\r"
    engine.lines[0].sendall(b"\x1b[1mfiles\r\n")
    assert read(line, 11) == b"\x1b[1mfiles\r\n"
    engine.lines[0].close()
    assert line.receive() == []
    line.close()


def test_the_second_writer_reads_only_until_he_takes_it(running: Running, engine: FakeEngine) -> None:
    first, _ = open_console(running)
    second, notice = open_console(running)
    assert notice["read_only"] is True
    assert notice["reason"] == "root types on it"
    second.send(b"x")
    third, notice = open_console(running, take="true")
    assert notice["read_only"] is False
    third.send(b"y")
    assert engine.lines[2].recv(10) == b"y"
    engine.lines[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        engine.lines[1].recv(10)
    for line in (first, second, third):
        line.close()


def test_a_console_that_is_closed_closes_the_guests_side(running: Running, engine: FakeEngine) -> None:
    line, _ = open_console(running)
    line.close()
    engine.lines[0].settimeout(60)
    assert engine.lines[0].recv(1) == b""


def test_a_slow_reader_stalls_nobody_and_is_not_buffered_for(running: Running, engine: FakeEngine) -> None:
    """Its guest's end fills up after what sockets hold; another console of the same server goes on."""
    slow, _ = open_console(running)
    engine.lines[0].setblocking(False)
    sent, quiet = 0, 0
    while quiet < 20:
        try:
            sent += engine.lines[0].send(b"x" * 65_536)
            quiet = 0
        except BlockingIOError:
            quiet += 1
            time.sleep(0.02)
        assert sent < 16 << 20, "somebody buffers without end"
    other, _ = open_console(running, write="false")
    engine.lines[1].sendall(b"alive")
    assert read(other, 14).endswith(b"alive")
    assert len(read(slow, sent)) >= sent  # and nothing is lost
    slow.close()
    other.close()


def test_a_screen_is_the_same_with_rfb(running: Running) -> None:
    line = WebSocket(target(running), "/v1/guests/web/screen")
    assert read(line, 12) == b"RFB 003.008\n"
    line.close()


def test_refusals_come_as_problems(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="there is no guest 'none'") as caught:
        WebSocket(target(running), "/v1/guests/none/console")
    assert caught.value.status == 404
    with pytest.raises(Refused, match="unknown key 'tkae'"):
        WebSocket(target(running), "/v1/guests/web/console", {"tkae": 1})
    assert running.request("GET", "/v1/guests/web/console")[0] == 426
    monkeypatch.setattr(peers, "peer_uid", lambda sock: 4711)
    running.accounts[4711] = Account("eva", frozenset({"skep-viewer"}))
    with pytest.raises(Refused, match="eva is viewer; this needs operator"):
        WebSocket(target(running), "/v1/guests/web/console")
    WebSocket(target(running), "/v1/guests/web/console", {"write": False}).close()
    with pytest.raises(Refused, match="needs operator"):
        WebSocket(target(running), "/v1/guests/web/screen")
    with pytest.raises(Refused, match="not valid"):
        WebSocket(target(running, "skep-00000000-x"), "/v1/events")


@pytest.mark.parametrize("header", [b"Host: \xff", b"Host: xn--\x80", b"Sec-WebSocket-Protocol: \xe4", b"X: \xff"])
def test_an_upgrade_with_odd_headers_is_refused_and_forgotten(running: Running, header: bytes) -> None:
    host = b"" if header.startswith(b"Host") else b"Host: x\r\n"
    with running.connect() as connection:
        connection.sendall(
            b"GET /v1/events HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + host + header + b"\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    until(lambda: not running.server.server_state.connections)


def test_past_events_are_a_list(running: Running) -> None:
    for _ in range(3):
        running.request("POST", "/v1/guests/web/actions/start")
    found = running.request("GET", "/v1/events?after=1")[2]
    assert [event["number"] for event in found] == [2, 3]
    assert found[0]["kind"] == "operation.started"
    assert [event["number"] for event in running.request("GET", "/v1/events?limit=1")[2]] == [1]
    assert running.request("GET", "/v1/events?after=-1")[2] == []


def test_followers_see_every_event_once_in_order(running: Running, engine: FakeEngine) -> None:
    seen: dict[int, list[int]] = {after: [] for after in (0, 5, 10)}

    def follow(after: int) -> None:
        for event in Client(target(running)).events(after):
            seen[after].append(event["number"])
            if event["number"] == 40:
                return

    for _ in range(10):
        engine._event("x", "y")
    followers = [threading.Thread(target=follow, args=(after,)) for after in seen]
    for follower in followers:
        follower.start()
    for _ in range(30):
        engine._event("x", "y")
        time.sleep(0.002)
    for follower in followers:
        follower.join(60)
    assert seen == {after: list(range(after + 1, 41)) for after in seen}


def test_events_over_a_websocket_from_now_on(running: Running, engine: FakeEngine) -> None:
    """From the moment when the handshake is answered: nothing that happens after it is missed."""
    engine._event("old", "x")
    line = WebSocket(target(running), "/v1/events", {"after": -1})
    engine._event("new", "x", key="value")
    (text,) = line.receive()
    event = json.loads(text)
    assert (event["number"], event["kind"], event["data"]) == (2, "new", {"key": "value"})
    line.close()
    until(lambda: running.app.state.service.hub._followers == 0)


def test_a_follower_that_was_gone_while_nobody_followed_misses_nothing(running: Running, engine: FakeEngine) -> None:
    first = Client(target(running)).events(0)
    engine._event("a", "x")
    assert next(first)["number"] == 1
    first.close()
    until(lambda: running.app.state.service.hub._followers == 0)
    for _ in range(5):
        engine._event("b", "x")
    second = Client(target(running)).events(1)
    assert [next(second)["number"] for _ in range(5)] == [2, 3, 4, 5, 6]
    second.close()


def test_a_slow_follower_costs_no_memory(running: Running, engine: FakeEngine) -> None:
    """It falls out of the ring, and then still gets every event, from the engine."""
    connection = running.connect()
    connection.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
    until(lambda: running.app.state.service.hub._followers == 1)
    count = events.RING * 4
    for _ in range(count):
        engine._event("x", "y", padding="p" * 1000)
    until(lambda: running.app.state.service.hub._latest == count)
    assert len(running.app.state.service.hub._ring) == events.RING
    text = _read_until(connection, b"id: %d\n" % count)
    numbers = [int(line[4:]) for line in text.split(b"\n") if line.startswith(b"id: ")]
    assert numbers == list(range(1, count + 1))
    connection.close()


def _read_until(connection: socket.socket, marker: bytes) -> bytes:
    text = b""
    while marker not in text[-4096:]:
        data = connection.recv(65_536)
        assert data
        text += data
    return text


def test_what_is_only_told_reaches_followers_and_disturbs_no_number(running: Running, engine: FakeEngine) -> None:
    engine._event("old", "x")
    follower = Client(target(running)).events(0)
    assert next(follower)["number"] == 1
    engine.tell("metrics", host={"cpu": 0.5})
    told = next(follower)
    assert (told["number"], told["kind"], told["ref"], told["data"]) == (1, "metrics", "host", {"host": {"cpu": 0.5}})
    engine._event("new", "x")
    assert [next(follower)[key] for key in ("number",)] == [2]
    follower.close()
    late = Client(target(running)).events(1)
    kinds = sorted((next(late)["kind"], next(late)["kind"]))
    assert kinds == ["metrics", "new"], "who comes later gets the newest at once"
    late.close()
    assert [event["kind"] for event in running.request("GET", "/v1/events")[2]] == ["old", "new"]
