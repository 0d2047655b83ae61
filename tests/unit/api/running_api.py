"""The API as it runs: uvicorn on a unix socket, in a thread of the test."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fake_engine import FakeEngine
from skepd.access.access import Access
from skepd.api.app import create_app
from skepd.api.authorise import Account, Authoriser
from skepd.api.server import Server, listening
from skepd.api.tokens import TokenStore
from skepd.model.names import Kind, Ref
from skepd.model.objects import Cpus, Disk, Guest, Network


class Running:
    """The API as it runs: uvicorn on a unix socket, in a thread of the test."""

    def __init__(self, engine: FakeEngine, folder: Path) -> None:
        self.engine = engine
        self.socket = folder / "skepd.sock"
        self.accounts: dict[int, Account] = {}
        self.tokens = TokenStore(folder / "tokens.json")
        self.access = Access(folder)
        self.authoriser = Authoriser(self.tokens, accounts=lambda uid: self.accounts[uid], access=self.access)
        self.app = create_app(engine, self.tokens, self.authoriser)
        self.server = Server(self.app, folder / "consoles.sock", b"key")
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        with listening(self.socket, None, 0o666) as listener:
            self.server.run([listener])

    def __enter__(self) -> Running:
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self.server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join(30)
        self.app.state.service.workers.close()
        self.access.close()

    def request(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], Any]:
        """Status, headers (lower case), decoded body. Keyword headers: If_Match="x"."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("skep", timeout=60)
        connection.sock = self.connect()
        try:
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        kind = answer.headers.get("content-type", "")
        value = json.loads(content) if "json" in kind else content
        return answer.status, {name.lower(): text for name, text in answer.headers.items()}, value

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        connection.connect(str(self.socket))
        return connection


def example_engine() -> FakeEngine:
    """A fake engine with guest web (one disk) and network lan."""
    fake = FakeEngine()
    root = Disk(name="root", image="small", size=1 << 30)
    fake.objects[Ref(Kind.GUEST, "web")] = Guest(name="web", cpus=Cpus(cores=2), disks=(root,))
    fake.objects[Ref(Kind.NETWORK, "lan")] = Network(name="lan")
    return fake


@contextlib.contextmanager
def serving(engine: FakeEngine) -> Iterator[Running]:
    folder = Path(tempfile.mkdtemp(prefix="skep-api-"))  # short: a unix socket's path has a limit
    try:
        with Running(engine, folder) as server:
            yield server
    finally:
        shutil.rmtree(folder)
