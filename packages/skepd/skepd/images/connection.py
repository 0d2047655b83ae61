"""One HTTP connection to a mirror. Every answer is looked at as if the mirror were hostile."""

from __future__ import annotations

import contextlib
import http.client
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast
from urllib.parse import urljoin, urlsplit

from skep_helper import __version__

from .options import MirrorError, Options, PullCancelled, PullError

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_PART = 1 << 20
_TICK = 0.1
_HEADERS = {"User-Agent": f"skep/{__version__}", "Accept-Encoding": "identity"}


def check_source(url: str) -> str:
    """The base URL without its last slash; raises PullError for one that cannot be a folder of images."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise PullError(f"source {url!r:.200}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or re.search(r"\s", url):
        raise PullError(f"source {url!r:.200} is not a URL such as https://images.example.org/skep")
    if parts.username is not None or parts.query or parts.fragment:
        raise PullError(f"source {parts.scheme}://{parts.hostname}: a user, query or fragment is not supported")
    return url.rstrip("/")


class Connection:
    """A kept-alive connection that one thread uses; another may `abort` it. Raises MirrorError."""

    def __init__(self, options: Options, context: ssl.SSLContext) -> None:
        self._options = options
        self._context = context
        self._http: http.client.HTTPConnection | None = None
        self._origin = ("", "", 0)
        self._moved: dict[str, str] = {}
        self._aborted = ""

    def begin(self) -> None:
        """Forget an earlier abort. The owner calls it where `abort` cannot come between."""
        self._aborted = ""

    def fetch(self, url: str, limit: int) -> bytes:
        """The whole of a small file, at most `limit` bytes."""
        with self._guard(url):
            answer = self._request(url, {})
            _expect(answer, 200)
            out = bytearray()
            while part := answer.read(min(_PART, limit + 1 - len(out))):
                out += part
                if len(out) > limit:
                    raise MirrorError(f"sent more than {limit} bytes", lasting=True)
            if answer.length:
                raise MirrorError(f"body was cut off after {len(out)} bytes")
            return bytes(out)

    def fetch_range(self, url: str, first: int, into: memoryview, total: int) -> None:
        """Fill `into` with the bytes from `first` on of a file that has `total` bytes."""
        last = first + len(into) - 1
        with self._guard(url):
            answer = self._request(url, {"Range": f"bytes={first}-{last}"})
            if answer.status == 200:
                raise MirrorError("ignores ranges (answers 200 instead of 206)", lasting=True)
            _expect(answer, 206)
            _check_range(answer, first, last, total)
            done = 0
            while done < len(into):
                count = answer.readinto(into[done:])
                if not count:
                    raise MirrorError(f"body was cut off after {done} of {len(into)} bytes")
                done += count

    def abort(self, reason: str) -> None:
        """End what is under way, from another thread: it raises MirrorError with this reason."""
        self._aborted = reason
        link = self._http.sock if self._http else None
        if link is not None:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
        self._http = None

    @contextlib.contextmanager
    def _guard(self, url: str) -> Iterator[None]:
        """One kind of error for everything that can go wrong; after it the connection is made anew."""
        try:
            yield
        except MirrorError as error:
            self._drop(url)
            raise (MirrorError(self._aborted) if self._aborted else error) from None
        except TimeoutError:
            self._drop(url)
            raise MirrorError(self._aborted or f"sent nothing for {self._options.stall_seconds:g} seconds") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._drop(url)
            raise MirrorError(self._aborted or str(error) or type(error).__name__) from None

    def _drop(self, url: str) -> None:
        self.close()
        self._moved.pop(url, None)

    def _request(self, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        """The answer after redirects. Where they led is remembered for this URL until something fails."""
        target = self._moved.get(url, url)
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._ask(target, headers)
            if answer.status not in _REDIRECTS:
                if target != url:
                    self._moved[url] = target
                return answer
            target = _redirected(target, answer.headers.get("Location"))
            # The body of a redirect is nobody's: closing is cheaper than reading what a mirror may never end.
            self.close()
        raise MirrorError(f"redirects more than {_MOST_REDIRECTS} times", lasting=True)

    def _ask(self, target: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        parts = urlsplit(target)
        origin = (parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        if origin != self._origin:
            self.close()
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if self._http is not None and self._http.sock is not None:
            # A kept connection may have been closed by the mirror meanwhile: that is no failure of the mirror.
            with contextlib.suppress(OSError, http.client.BadStatusLine):
                return self._send(self._http, path, headers)
            if self._aborted:
                raise MirrorError(self._aborted)
        self.close()
        return self._send(self._connect(origin), path, headers)

    def _send(self, link: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        link.request("GET", path, headers={**_HEADERS, **headers})
        return link.getresponse()

    def _connect(self, origin: tuple[str, str, int]) -> http.client.HTTPConnection:
        scheme, name, port = origin
        seconds = self._options.connect_seconds
        link = (
            http.client.HTTPSConnection(name, port, timeout=seconds, context=self._context)
            if scheme == "https"
            else http.client.HTTPConnection(name, port, timeout=seconds)
        )
        try:
            link.connect()
        except TimeoutError:
            raise MirrorError(f"did not accept a connection within {seconds:g} seconds") from None
        link.sock.settimeout(self._options.stall_seconds)
        self._http, self._origin = link, origin
        if self._aborted:
            raise MirrorError(self._aborted)
        return link


def _expect(answer: http.client.HTTPResponse, status: int) -> None:
    if answer.status != status:
        raise MirrorError(f"answers {answer.status} {answer.reason[:80]}".rstrip())
    coding = answer.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise MirrorError(f"sends the content encoded as {coding[:40]!r}, which was not asked for", lasting=True)


def _check_range(answer: http.client.HTTPResponse, first: int, last: int, total: int) -> None:
    given = answer.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(given)
    if match is None or tuple(map(int, match.groups())) != (first, last, total):
        raise MirrorError(f"sends {given[:80]!r} for bytes {first}-{last}/{total}", lasting=True)
    if answer.length != last - first + 1:
        raise MirrorError(f"announces {answer.length} bytes for a range of {last - first + 1}", lasting=True)


def _redirected(target: str, location: str | None) -> str:
    """Where a redirect leads; never from https to http, never to another scheme."""
    if not location:
        raise MirrorError("redirects without saying where to", lasting=True)
    new = urljoin(target, location)
    try:
        check_source(new.split("?", 1)[0])
    except PullError:
        raise MirrorError(f"redirects to {new[:200]!r}, which is not http or https", lasting=True) from None
    if target.startswith("https:") and not new.startswith("https:"):
        raise MirrorError("redirects from https to http", lasting=True)
    return new


T = TypeVar("T")


def watched(connection: Connection, seconds: float, cancelled: Callable[[], bool], action: Callable[[], T]) -> T:
    """Run an action on a connection in a thread, and leave it when it takes too long or the caller cancels.

    Not even a name server that never answers can hold the caller. Raises MirrorError, PullCancelled and what the
    action raises.
    """
    box: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            box.put((True, action()))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            box.put((False, error))

    connection.begin()
    threading.Thread(target=run, name="image-manifest", daemon=True).start()
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(queue.Empty):
            good, value = box.get(timeout=_TICK)
            if good:
                return cast("T", value)
            raise value
        if cancelled():
            connection.abort("cancelled")
            raise PullCancelled("the pull was cancelled")
        if time.monotonic() > end:
            connection.abort("took too long")
            raise MirrorError(f"did not answer completely within {seconds:g} seconds")
