"""The door for gateways: what strangers say harms nobody else, and what they are given is taken back."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from running_api import Running
from skepd.api.consoles import door as door_module
from skepd.api.consoles.door import MOST_OF_ONE, Door, Proof
from skepd.api.consoles.packets import MOST_BYTES, Packets, TooLong
from skepd.api.consoles.registry import SESSION_ENDED, Console
from skepd.gateway import admission
from wsproto.events import Request

DEEP = b"[" * 50_000


class Gateway:
    """As skepd sees one: JSON there and back."""

    def __init__(self, running: Running) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(30)
        self.socket.connect(str(running.socket.with_name("consoles.sock")))

    def tell(self, message: dict[str, Any]) -> None:
        self.socket.send(json.dumps(message).encode())

    def hear(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.socket.recv(1 << 18))
        return answer

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self.tell({"id": 7, **message})
        return self.hear()

    def admit(self, token: str = "", query: str = "", **changes: Any) -> dict[str, Any]:
        headers = [["host", "hive"], *([["authorization", f"Bearer {token}"]] if token else [])]
        wanted = {"guest": "web", "kind": "serial", "query": query, "headers": headers, "subprotocols": [], "peer": ""}
        return self.ask({"do": "admit", **wanted, **changes})

    @property
    def closed(self) -> bool:
        try:
            return not self.socket.recv(1)
        except ConnectionResetError:
            return True


def ends(reader: int) -> bool:
    """Whether nobody has the other end of a pipe any more."""
    with os.fdopen(reader, "rb") as stream:
        return stream.read() == b""


def packets_of(connection: socket.socket, lost: list[str]) -> Packets:
    def received(message: dict[str, Any], descriptors: list[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    return Packets(connection, received, lambda: lost.append("lost"))


def test_a_message_that_is_too_long_fails_alone() -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lost: list[str] = []
        packets = packets_of(ours, lost)
        reader, writer = os.pipe()
        with pytest.raises(TooLong, match="too long"):
            packets.send({"text": "x" * MOST_BYTES}, [writer])
        assert ends(reader)
        packets.send({"text": "x"})
        assert theirs.recv(100) == b'{"text":"x"}'
        assert lost == []
        packets.close()
        theirs.close()

    asyncio.run(run())


@pytest.mark.parametrize("data", [DEEP, b"{", b"[1]"])
def test_nonsense_ends_the_connection_and_leaves_no_descriptor(data: bytes) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lost: list[str] = []
        packets_of(ours, lost)
        reader, writer = os.pipe()
        socket.send_fds(theirs, [data], [writer])
        os.close(writer)
        while not lost:
            await asyncio.sleep(0.01)
        assert ends(reader)
        theirs.close()

    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_caller_without_a_credential_is_nobody_even_at_a_gateway_of_skepds_own_user(running: Running) -> None:
    gateway = Gateway(running)
    assert (refused := gateway.admit())["refused"] == 401
    assert refused["detail"] == "no token was given"
    assert gateway.admit(subprotocols=["x.token.y"])["refused"] == 401
    assert gateway.admit(running.tokens.create("eva", "operator").secret)["console"]["user"] == "eva"


def test_a_query_is_judged_for_those_who_are_known_and_not_repeated_at_length(running: Running) -> None:
    gateway = Gateway(running)
    nonsense = "%01" * 15_000 + "=1"
    assert gateway.admit(query=nonsense)["refused"] == 401
    assert gateway.admit(query="ticket=x&" + nonsense)["detail"].startswith("this ticket was used")
    token = running.tokens.create("eva", "operator").secret
    refused = gateway.admit(token, query=nonsense)
    assert (refused["refused"], len(refused["detail"])) == (400, 1000)
    assert len(refused["body"]) < 10_000
    assert "console" in gateway.admit(token)


def test_nothing_is_read_from_who_is_no_gateway(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def nobody(uid: int) -> bool:
        asked.wait(30)
        return False

    monkeypatch.setattr(running.authoriser, "is_gateway", nobody)
    reader, writer = os.pipe()
    gateway = Gateway(running)
    socket.send_fds(gateway.socket, [b'{"id":1,"do":"closed","console":"x"}'], [writer])
    os.close(writer)
    asked.set()
    assert gateway.closed
    assert ends(reader)


def test_one_user_has_so_many_connections_and_no_more(running: Running) -> None:
    def answers(gateway: Gateway) -> bool:
        try:
            return gateway.ask({"do": "closed", "console": "x"}) == {"id": 7}
        except (OSError, ValueError):
            return False

    gateways = [Gateway(running) for _ in range(MOST_OF_ONE)]
    assert all(answers(gateway) for gateway in gateways)
    assert Gateway(running).closed
    gateways.pop().socket.close()
    deadline = time.monotonic() + 30
    while not answers(Gateway(running)):
        assert time.monotonic() < deadline


def test_without_descriptors_accepting_pauses(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []

    class Full(socket.socket):
        def accept(self) -> Any:
            tries.append(time.monotonic())
            raise OSError(errno.EMFILE, "too many open files")

    named = SimpleNamespace(socket=Full, AF_UNIX=socket.AF_UNIX, SOCK_SEQPACKET=socket.SOCK_SEQPACKET)
    monkeypatch.setattr(door_module, "socket", named)
    monkeypatch.setattr(door_module, "PAUSE", 0.2)

    async def run() -> None:
        door = Door(running.app.state.service, tmp_path / "door", b"key")
        door.open()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
            caller.connect(str(tmp_path / "door"))
            while len(tries) < 2:
                await asyncio.sleep(0.01)
            door.close()
            await asyncio.sleep(0.3)

    asyncio.run(asyncio.wait_for(run(), 30))
    assert len(tries) == 2
    assert tries[1] - tries[0] >= 0.19


@pytest.mark.parametrize("late", [True, False])
def test_a_line_for_a_gateway_that_is_gone_is_closed(
    running: Running, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """late: the guard answers after the gateway is gone; else the history fails after the line was opened."""
    began, go_on = threading.Event(), threading.Event()
    reader, writer = os.pipe()

    def open_console(*_: Any, **__: Any) -> tuple[int, int]:
        began.set()
        assert go_on.wait(30)
        return writer, 0

    def fail(*_: Any) -> Any:
        raise OSError("no history")

    monkeypatch.setattr(running.engine, "open_console", open_console)
    if not late:
        monkeypatch.setattr(running.engine, "console_history", fail)
    gateway = Gateway(running)
    admitted = gateway.admit(running.tokens.create("eva", "operator").secret)["console"]
    gateway.tell({"id": 8, "do": "line", "console": admitted["id"], "offset": 0})
    assert began.wait(30)
    if late:
        gateway.socket.close()
        consoles = running.app.state.service.consoles
        deadline = time.monotonic() + 30
        while consoles.of("web"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    go_on.set()
    assert ends(reader)


def of_token(running: Running, role: Any) -> str:
    return f"token:{running.tokens.create('eva', role).id}"


def of_session(running: Running, role: Any) -> str:
    user = running.access.users.create("eva", "admin", None)
    running.access.users.create("ada", "admin", None)
    entry = running.access.enter(user, "peer", "agent")
    running.access.set_role("eva", role)
    return entry.session.key


@pytest.mark.parametrize("key_of", [of_token, of_session])
@pytest.mark.parametrize(
    ("role", "writes", "kept"),
    [("viewer", True, False), ("viewer", False, True), ("operator", True, True), ("operator", False, True)],
)
def test_a_console_is_kept_with_the_role_of_now(
    running: Running, key_of: Callable[[Running, Any], str], role: str, writes: bool, kept: bool
) -> None:
    console = Console(
        guest="web", kind="serial", user="eva", writes=writes, key=key_of(running, role),
        close=lambda code, reason: None, tell=lambda event: None,
    )  # fmt: skip
    gateway = Gateway(running)
    gateway.tell({"do": "keep", "console": Proof(b"key").describe(console)})
    if kept:
        assert gateway.ask({"do": "closed", "console": "another"}) == {"id": 7}
        assert [one.id for one in running.app.state.service.consoles.of("web")] == [console.id]
    else:
        told = gateway.hear()
        assert (told["do"], told["code"], told["reason"]) == ("close", SESSION_ENDED, f"eva is {role} now")


def test_a_console_of_no_session_is_not_kept(running: Running) -> None:
    console = Console(
        guest="web", kind="serial", user="root", writes=True, close=lambda code, reason: None, tell=lambda event: None
    )
    gateway = Gateway(running)
    gateway.tell({"do": "keep", "console": Proof(b"key").describe(console)})
    assert gateway.hear()["code"] == SESSION_ENDED


def asked(subprotocols: list[str], target: str = "/v1/guests/web/console", **headers: str) -> dict[str, Any]:
    extra = [(name.encode(), value.encode()) for name, value in headers.items()]
    request = Request(host="decoded", target=target, extra_headers=extra, subprotocols=subprotocols)
    come: Any = SimpleNamespace(request=request, host="xn--p1ai", peer="192.0.2.1", scheme="https")
    return admission.asked(come)


def test_the_gateway_says_for_whom_there_is_no_token() -> None:
    assert ["host", "xn--p1ai"] in asked([])["headers"]
    for offered, without in ((["skep", "skep.token.x"], False), (["x.token.y"], True), (["skep.token."], True)):
        assert (["authorization", "Bearer"] in asked(offered)["headers"]) is without


@pytest.mark.parametrize(
    "more",
    [
        {"cookie": "x" * 9000},
        {"user-agent": "\x01" * 9000},
        {"target": "/v1/guests/web/console?" + "x" * 9000},
        {"subprotocols": ["x" * 9000]},
    ],
)
def test_the_gateway_passes_no_long_header_on(more: Any) -> None:
    with pytest.raises(TooLong, match="bytes are too long"):
        asked(**{"subprotocols": [], **more})
