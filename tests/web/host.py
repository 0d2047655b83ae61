"""A host for the pages: skepd (simulated) and the gateway in front of it, as processes that can be killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skep.client import Client
from skep.errors import ClientError
from skep.settings import Target

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GATEWAY_USER = "nobody"


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it never came true: {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Host:
    """Start it with `with`; the folder goes with it."""

    def __init__(self, port: int = 0) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="skep-web-"))
        self.folder.chmod(0o755)
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket = self.folder / "run" / "skepd.sock"
        self.cookies: dict[str, Any] = {}
        """Of sessions that tests share, by role."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Host:
        try:
            self.start_skepd()
            self.start_gateway()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._processes):
            self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_skepd(self) -> None:
        places = {"state": self.folder / "state", "pool": self.folder / "pool", "socket": self.socket}
        (self.folder / "state").mkdir(exist_ok=True)
        options = [word for name, path in places.items() for word in (f"--{name}", str(path))]
        self._start("skepd", "tests.web.simulated", *options, "--gateway-user", GATEWAY_USER)
        until(self.client.ping, "skepd answers")

    def start_gateway(self) -> None:
        user = ["--user", GATEWAY_USER] if os.geteuid() == 0 else []
        listen = ["--plain", "--listen", f"127.0.0.1:{self.port}", "--socket", str(self.socket)]
        self._start("gateway", "skepd.gateway.main", *listen, *user)
        until(self._gateway_answers, "the gateway answers")

    def kill(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        process = self._processes.pop(name)
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
        if process.stdin:
            process.stdin.close()

    def fault(self, what: str, guest: str) -> None:
        """crash, reboot or off: as if the guest itself had done it."""
        pipe = self._processes["skepd"].stdin
        assert pipe is not None
        pipe.write(f"{what} {guest}\n".encode())
        pipe.flush()

    @property
    def client(self) -> Api:
        return Api(self.socket)

    def furnish(self) -> None:
        """The branch office of site.toml, up and running."""
        text = (HERE / "site.toml").read_text()
        ended = self.client.call("POST", "/v1/apply", {"text": text}, wait=120)
        assert ended["state"] == "done", ended

    def _gateway_answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def _start(self, name: str, module: str, *options: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        argv = [sys.executable, "-m", module, *options]
        self._processes[name] = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log)
        log.close()


class Api:
    """skepd's API on its socket, as root or as skepd's own user: administrator."""

    def __init__(self, path: Path) -> None:
        self._client = Client(Target(socket=str(path)))

    def call(self, method: str, where: str, body: Any = None, **query: Any) -> Any:
        answer = self._client.request(method, where, body, query=query)
        return answer.json() if answer.content else None

    def ping(self) -> bool:
        try:
            self.call("GET", "/v1/users/me")
        except ClientError:
            return False
        return True
