"""A host that keeps images in a folder, and a web server that follows a script of misdeeds."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skep.images.manifest import Manifest
from skep_helper.vocabulary import (
    AbandonImage,
    HelloReading,
    ImageReading,
    OpenImageWriter,
    PublishImage,
    ReadStorage,
    ReceiveImage,
    StorageReading,
)
from skepd.host import HostError, Progress
from skepd.images.options import Options
from skepd.images.serve import Handler, ImageServer

FAST = Options(connect_seconds=5, stall_seconds=2, rest_seconds=0.01, tries=2, hedge_seconds=0.3, manifest_seconds=10)


@dataclass(frozen=True)
class Published:
    """A folder with `small` 1.0 (5 chunks, the last one short, one of zeros), 2.0 of other content, and 1.0+zst."""

    folder: Path
    source: Path
    key: Path
    signers: Path
    stranger: Path
    manifest: Manifest

    @property
    def content(self) -> bytes:
        return self.source.read_bytes()


def make_key(folder: Path, name: str) -> Path:
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], check=True)
    return path


def signer_line(principal: str, key: Path, options: str = 'namespaces="skep-image"') -> str:
    return f"{principal} {options} {key.with_suffix('.pub').read_text()}"


@dataclass
class FolderHost:
    """skepd.host.Host for images: `parts` are invisible, `visible` is what guests could use."""

    folder: Path
    refuse_publish: HostError | None = None
    refuse_open: HostError | None = None
    busy: int = 0
    streams: dict[tuple[str, str], bytearray] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)
    stream_reader: Callable[[int, bytearray], None] | None = None

    def __post_init__(self) -> None:
        (self.folder / "parts").mkdir(parents=True, exist_ok=True)
        (self.folder / "visible").mkdir(exist_ok=True)

    def part(self, request: Any) -> Path:
        return self.folder / "parts" / f"{request.image}:{request.version}"

    def shown(self, request: Any) -> Path:
        return self.folder / "visible" / f"{request.image}:{request.version}"

    @property
    def visible(self) -> list[str]:
        return sorted(os.listdir(self.folder / "visible"))

    @property
    def parts(self) -> list[str]:
        return sorted(os.listdir(self.folder / "parts"))

    def hello(self) -> HelloReading:
        raise NotImplementedError

    def perform(self, requests: Sequence[Any], progress: Progress | None = None) -> tuple[Any, ...]:
        return tuple(self._one(request) for request in requests)

    def _one(self, request: Any) -> Any:
        self.requests.append(request)
        match request:
            case ReadStorage():
                return StorageReading(images=tuple(self._reading(name) for name in self.visible))
            case PublishImage():
                if self.busy:
                    self.busy -= 1
                    raise HostError("busy", "is still open for writing")
                if self.refuse_publish:
                    raise self.refuse_publish
                self.part(request).rename(self.shown(request))
            case AbandonImage():
                self.part(request).unlink(missing_ok=True)
            case _:
                raise AssertionError(f"unexpected {request}")
        return None

    def _reading(self, name: str) -> ImageReading:
        image, version = name.split(":", 1)
        size = (self.folder / "visible" / name).stat().st_size
        return ImageReading(image=image, version=version, format="raw", size=size)

    def open(self, request: Any) -> tuple[Any, int]:
        assert isinstance(request, OpenImageWriter)
        self.requests.append(request)
        if self.refuse_open:
            error, self.refuse_open = self.refuse_open, None
            raise error
        descriptor = os.open(self.part(request), os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(descriptor, request.size)
        return None, descriptor

    def stream(self, request: Any, descriptor: int, progress: Progress | None = None) -> Any:
        assert isinstance(request, ReceiveImage)
        self.requests.append(request)
        received = self.streams[request.image, request.version] = bytearray()
        (self.stream_reader or read_all)(descriptor, received)
        if hashlib.sha256(received).hexdigest() != request.digest:
            raise HostError("failed", "the stream ended early; send it again")
        self.shown(request).write_bytes(received)

    def cancel(self) -> None: ...

    def close(self) -> None: ...


def read_all(descriptor: int, into: bytearray) -> None:
    while data := os.read(descriptor, 1 << 16):
        into += data


Misdeed = Callable[["ScriptedHandler"], bool]
"""Answers a request in its own way and returns True, or returns False: then the request is served as it should be."""


class ScriptedHandler(Handler):
    server: ScriptedServer

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.asked.append((self.path, self.headers.get("Range", ""), self.headers.get("User-Agent", "")))
        if not self.server.misdeed(self):
            super().do_GET()

    @property
    def is_range(self) -> bool:
        return "Range" in self.headers

    @property
    def wanted(self) -> tuple[int, int]:
        """(first, last) of the range that was asked for."""
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        return int(first), int(last)

    def content(self) -> bytes:
        """The true bytes of what was asked for."""
        data = (self.server.folder / self.path.lstrip("/").replace("%2B", "+")).read_bytes()
        first, last = self.wanted if self.is_range else (0, len(data) - 1)
        return data[first : last + 1]

    def total(self) -> int:
        return (self.server.folder / self.path.lstrip("/").replace("%2B", "+")).stat().st_size

    def answer(self, status: int, body: bytes, **headers: str) -> bool:
        """Headers are given with `_` for `-`; Content-Length and Content-Range are true unless given; "" leaves out."""
        lines = {"Content-Length": str(len(body))}
        if status == 206:
            first, last = self.wanted
            lines["Content-Range"] = f"bytes {first}-{last}/{self.total()}"
        lines |= {key.replace("_", "-"): value for key, value in headers.items()}
        self.send_response(status)
        for key, value in lines.items():
            if value:
                self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        return True

    def drop(self) -> bool:
        self.close_connection = True
        return True

    def sleep(self, seconds: float = 30) -> None:
        """Until the test is over, at most."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.server.over.is_set():
            time.sleep(0.05)


class ScriptedServer(ImageServer):
    def __init__(self, folder: Path, misdeed: Misdeed | None = None) -> None:
        super().__init__(folder)
        self.RequestHandlerClass = ScriptedHandler
        self.misdeed: Misdeed = misdeed or (lambda handler: False)
        self.asked: list[tuple[str, str, str]] = []
        self.connections = 0
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    @property
    def ranges(self) -> list[str]:
        with self.lock:
            return [asked[1] for asked in self.asked if asked[1]]

    def stop(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()
        self.thread.join(timeout=10)

    def handle_error(self, request: object, client_address: object) -> None:
        """A misdeed meets a client that hangs up: nothing to report."""
