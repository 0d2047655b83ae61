"""A whole Skep with folders of its own, on the real host: helper, skepd, an image. Needs root.

Everything it makes has a name of its own and is gone at the end, so that it runs beside an installed Skep.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skep.client import Client, path
from skep.settings import Target
from skep_helper.policy import Policy
from skep_helper.vocabulary import OpenImageWriter, PublishImage
from skepd.helper_client import HelperClient

IMAGE = "bench"
IMAGE_SIZE = 1 << 30
HOST = '[host]\nname = "bench"'
SAFETY = 120.0
"""Seconds after which something that should come is given up."""


class Lab:
    """helper, skepd: the processes. unique: no other lab has this in its names."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.unique = f"b{os.getpid()}"
        self.network = f"{self.unique}-net"
        self.policy = Policy(
            pool=base / "pool", run=base / "run", log=base / "log", user="nobody", group="nogroup",
            interface_prefix=f"b{os.getpid() % 1000:03}",
        )  # fmt: skip
        self.helper = self._start("skep_helper.main", ["--policy", str(self._write_policy())], self.helper_socket)
        self._publish_image()
        places = ["--state", f"{base}/state", "--pool", str(self.policy.pool)]
        sockets = ["--socket", str(self.api_socket), "--helper", str(self.helper_socket)]
        self.skepd = self._start("skepd.daemon.main", [*places, *sockets], self.api_socket)
        self.client = Client(Target(socket=str(self.api_socket)))

    @property
    def helper_socket(self) -> Path:
        return self.policy.run / "helper.sock"

    @property
    def api_socket(self) -> Path:
        return self.base / "api" / "s"

    def _write_policy(self) -> Path:
        policy, where = self.policy, self.base / "policy.toml"
        words = {name: getattr(policy, name) for name in ("pool", "run", "log", "user", "group", "interface_prefix")}
        where.write_text("".join(f'{name} = "{value}"\n' for name, value in words.items()))
        where.chmod(0o644)
        return where

    def _start(self, module: str, arguments: list[str], socket: Path) -> subprocess.Popen[bytes]:
        with open(self.base / f"{module}.log", "ab") as log:
            process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=log, stderr=log)
        try:
            end = time.monotonic() + SAFETY
            while not socket.exists():
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{module} did not start:\n{(self.base / f'{module}.log').read_text()}")
                time.sleep(0.02)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process

    def _publish_image(self) -> None:
        """An empty qcow2 image: what is on it plays no part."""
        source = self.base / "image.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", source, str(IMAGE_SIZE)], check=True)
        data = source.read_bytes()
        host = HelperClient(self.helper_socket)
        host.hello()
        words = {"image": IMAGE, "version": "1", "format": "qcow2"}
        _, descriptor = host.open(OpenImageWriter(size=len(data), **words))
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        host.perform([PublishImage(digest=hashlib.sha256(data).hexdigest(), **words)])
        host.close()

    def site(self, *guests: str) -> str:
        """A site with one isolated, filtered network and these guests' tables."""
        return "\n".join([
            HOST,
            f'[image.{IMAGE}]\nversion = "1"\nsources = ["http://127.0.0.1:9/"]',
            '[filter.web]\nrules = ["in tcp 80", "in ping", "out any"]',
            f'[network.{self.network}]\nkind = "isolated"\nsubnet = "10.9.0.0/16"',
            *guests,
        ])  # fmt: skip

    def guest(self, number: int, power: str = "on") -> str:
        """A guest with a linked clone and a filtered port."""
        name = self.guest_name(number)
        return f"""
[guest.{name}]
memory = "128M"
power = "{power}"
boot.shutdown-timeout = "0s"
[[guest.{name}.disk]]
image = "{IMAGE}"
[[guest.{name}.nic]]
network = "{self.network}"
addresses = "10.9.{number // 200 + 1}.{number % 200 + 1}"
filters = ["web"]
"""

    def guest_name(self, number: int) -> str:
        return f"{self.unique}-{number}"

    def apply(self, *guests: str) -> dict[str, Any]:
        """Make the host what the site says; returns the operation once it is done."""
        return self._carry_out(self.site(*guests))

    def _carry_out(self, text: str) -> dict[str, Any]:
        body = {"text": text, "file": "bench.toml"}
        operation: dict[str, Any] = self.client.request("POST", path("apply"), body, query={"wait": 20}).json()
        while operation["state"] in ("queued", "running"):
            operation = self.client.wait(operation["id"])
        if operation["state"] != "done":
            raise RuntimeError(f"{operation['title']}: {operation['state']}: {operation['error']}")
        return operation

    def close(self) -> None:
        """Take everything down again."""
        try:
            if self.skepd.poll() is None:
                self._carry_out(HOST)
        finally:
            self.client.close()
            for process in (self.skepd, self.helper):
                process.terminate()
                process.wait(SAFETY)


@contextmanager
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        raise SystemExit("this benchmark starts real guests: run it as root")
    # Told to end, it clears away what it made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    base = Path(tempfile.mkdtemp(prefix="skep-bench-"))
    base.chmod(0o755)
    try:
        for name in ("images", "filters", "networks", "routers", "ports", "journals"):
            (base / "state" / name).mkdir(parents=True)
        made = Lab(base)
        try:
            yield made
        finally:
            made.close()
    finally:
        shutil.rmtree(base)
