"""A small web server for a folder of images: ``python -m skepd.images.serve FOLDER --port N``.

GET and HEAD with ranges, nothing else. It serves regular files below the folder, never through a symlink, never a
name that begins with a dot, and lists no folder. Any other web server will do as well; this one is always there.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import socketserver
import stat
import sys
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from skep_helper import __version__

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_TYPES = {".json": "application/json", ".sig": "text/plain; charset=us-ascii"}
_IDLE_SECONDS = 60


def open_below(folder: Path, target: str) -> BinaryIO | None:
    """The regular file that a request target names, None when there is none that may be served.

    Opened component by component with O_NOFOLLOW, so that neither `..` nor a symlink leads out of the folder.
    """
    root, *names = unquote(target.split("?", 1)[0], errors="strict").split("/")
    if root or not names or any(not name or name.startswith(".") or "\0" in name for name in names):
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number, name in enumerate(names):
            # Without O_NONBLOCK the open of a FIFO would wait for its writer.
            flags = os.O_NONBLOCK if number == len(names) - 1 else os.O_DIRECTORY
            inner = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        found, descriptor = os.fdopen(descriptor, "rb", buffering=0), -1
        return found
    except OSError:
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def read_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(first, length) of the one range that a Range header asks for; None: the whole file.

    What is not one range of bytes is answered with the whole file, as RFC 9110 allows. Raises ValueError when the
    range lies behind the end.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    low, high = match.groups()
    if not low:
        first, last = max(0, size - int(high)), size - 1
    else:
        first, last = int(low), min(int(high), size - 1) if high else size - 1
        if high and int(high) < first:
            return None
    if first > last:
        raise ValueError(f"the range begins at {first}, the file has {size} bytes")
    return first, last - first + 1


class Handler(BaseHTTPRequestHandler):
    """One connection; requests on it are answered one after the other."""

    protocol_version = "HTTP/1.1"
    server_version = f"skep/{__version__}"
    sys_version = ""
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    server: ImageServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        try:
            source = open_below(self.server.folder, self.path)
        except UnicodeDecodeError:
            source = None
        if source is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        with source:
            facts = os.fstat(source.fileno())
            tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
            modified = formatdate(facts.st_mtime, usegmt=True)
            wanted = self.headers.get("Range") if self._if_range_holds(tag, modified) else None
            try:
                part = read_range(wanted, facts.st_size)
            except ValueError:
                self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"bytes */{facts.st_size}")
                return
            first, length = part or (0, facts.st_size)
            self.send_response(HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK)
            if part:
                self.send_header("Content-Range", f"bytes {first}-{first + length - 1}/{facts.st_size}")
            self.send_header("Content-Length", str(length))
            self.send_header("Content-Type", _TYPES.get(os.path.splitext(self.path)[1], "application/octet-stream"))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", tag)
            self.send_header("Last-Modified", modified)
            self.end_headers()
            if with_body and length:
                self._send(source, first, length)

    def _if_range_holds(self, tag: str, modified: str) -> bool:
        """Whether the range is of the file that the client has begun with; without If-Range it always is."""
        condition = self.headers.get("If-Range")
        return condition is None or condition.strip() in (tag, modified)

    def _send(self, source: BinaryIO, first: int, length: int) -> None:
        try:
            sent = self.connection.sendfile(source, first, length)
        except (ConnectionError, TimeoutError):
            sent = 0
        # A client that went away, or a file that was cut while it was sent: the length that was promised is not
        # kept, so the connection must end.
        if sent != length:
            self.close_connection = True

    def _refuse(self, status: HTTPStatus, content_range: str = "") -> None:
        self.send_response(status)
        if content_range:
            self.send_header("Content-Range", content_range)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        if self.server.verbose:
            super().log_message(format, *args)


class ImageServer(ThreadingHTTPServer):
    """Serves one folder, a thread for each connection. Port 0: any free one, see `url`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, bind: str = "127.0.0.1", port: int = 0, *, verbose: bool = False) -> None:
        self.folder = folder
        self.verbose = verbose
        self.address_family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        super().__init__((bind, port), Handler)

    def server_bind(self) -> None:
        """Without the look-up of the own name in DNS that HTTPServer makes: it may take minutes on a small site."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @property
    def url(self) -> str:
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{host}:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle of a request is its own business."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit 0 ended so, 1 could not begin."""
    parser = argparse.ArgumentParser(prog="python -m skepd.images.serve", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--port", type=int, default=0, help="0, the default: any free one, printed")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on, IPv4 or IPv6")
    parser.add_argument("--verbose", action="store_true", help="one line for each request on standard error")
    options = parser.parse_args(arguments)
    try:
        os.close(os.open(options.folder, os.O_RDONLY | os.O_DIRECTORY))
        server = ImageServer(options.folder.resolve(), options.bind, options.port, verbose=options.verbose)
    except OSError as error:
        sys.stderr.write(f"cannot serve {options.folder} on {options.bind} port {options.port}: {error.strerror}\n")
        return 1
    signal.signal(signal.SIGTERM, _stop)
    sys.stdout.write(f"serving {options.folder} at {server.url}\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()
    return 0


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
