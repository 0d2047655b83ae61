"""The HTTP client: skepd's API over its unix socket or over TLS. Objects are plain JSON values.

Imported by every command, so what is slow to import is imported where it is needed.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from .errors import Refused, Unreachable
from .settings import Target

TIMEOUT = 60.0
"""Seconds without any byte after which the server counts as gone; waits are kept shorter than this."""
WAIT = 20
PIECE = 1 << 18
UNENDED = ("queued", "running")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


def path(*words: str) -> str:
    """The path of an object: path("guests", name)."""
    return "/v1/" + "/".join(quote(word, safe="") for word in words)


class Client:
    """One server. Not thread-safe: one connection, kept open between requests."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(
        self,
        method: str,
        where: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request. body: a JSON value, or bytes with a Content-Type in `headers`.

        Raises Refused for an answer of 400 and above, Unreachable when there is none.
        """
        sent = {"Accept": "application/json", **self._credentials(), **(headers or {})}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        answer = self._exchange(method, with_query(where, query), data, sent)
        if answer.status >= 400:
            raise refusal(answer)
        return answer

    def get(self, *words: str, **query: Any) -> Any:
        """A JSON value: get("guests", name)."""
        return self.request("GET", path(*words), query=query).json()

    def events(self, after: int = -1) -> Iterator[dict[str, Any]]:
        """Events as they happen, for ever; comes back by itself when the line breaks. -1: from now on."""
        while True:
            for event in self._events(after):
                after = event["number"]
                yield event
            self.close()

    def wait(self, identity: str, seconds: int = WAIT) -> dict[str, Any]:
        """The operation when it has ended, or as it is after `seconds`."""
        found: dict[str, Any] = self.get("operations", identity, wait=min(seconds, WAIT))
        return found

    def _events(self, after: int) -> Iterator[dict[str, Any]]:
        connection = connect(self.target)
        headers = {"Accept": "text/event-stream", **self._credentials()}
        try:
            connection.request("GET", with_query("/v1/events", {"after": after}), headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                raise refusal(_answer(response))
            while line := response.readline(1 << 20):
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.target, error) from None
        finally:
            connection.close()

    @contextmanager
    def download(self, where: str, query: Mapping[str, Any] | None = None) -> Iterator[Download]:
        """A long answer, read piece by piece, on a connection of its own. Raises Refused and Unreachable."""
        connection = connect(self.target)
        try:
            try:
                connection.request("GET", with_query(where, query), headers=self._credentials())
                response = connection.getresponse()
                if response.status >= 400:
                    raise refusal(_answer(response))
            except (OSError, http.client.HTTPException) as error:
                raise unreachable(self.target, error) from None
            yield Download(response, self.target)
        finally:
            connection.close()

    def upload(self, where: str, pieces: Iterable[bytes], query: Mapping[str, Any] | None = None) -> None:
        """PUT a body of any length, piece by piece, on a connection of its own. Raises Refused and Unreachable."""
        connection = connect(self.target)
        headers = {"Content-Type": "application/octet-stream", **self._credentials()}
        try:
            try:
                connection.request("PUT", with_query(where, query), pieces, headers, encode_chunked=True)
            except (BrokenPipeError, ConnectionResetError):
                """It was refused before all was sent: the answer says why, where it still comes."""
            answer = _answer(connection.getresponse())
            if answer.status >= 400:
                raise refusal(answer)
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.target, error) from None
        finally:
            connection.close()

    def _credentials(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.target.token}"} if self.target.token else {}

    def _exchange(self, method: str, where: str, data: bytes | None, headers: Mapping[str, str]) -> Answer:
        fresh = self._connection is None
        try:
            return self._once(method, where, data, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self.close()
            if fresh:
                raise unreachable(self.target, error) from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise unreachable(self.target, error) from None
        # The server had closed the connection while nothing was said: that is no failure.
        return self._exchange(method, where, data, headers)

    def _once(self, method: str, where: str, data: bytes | None, headers: Mapping[str, str]) -> Answer:
        if self._connection is None:
            self._connection = connect(self.target)
        self._connection.request(method, where, data, dict(headers))
        return _answer(self._connection.getresponse())


@dataclass(frozen=True)
class Download:
    """An answer under way."""

    response: http.client.HTTPResponse
    target: Target

    def header(self, name: str) -> str:
        return self.response.headers.get(name, "")

    def pieces(self) -> Iterator[bytes]:
        """To its end; raises Unreachable when it is cut."""
        try:
            while data := self.response.read(PIECE):
                yield data
        except http.client.HTTPException:
            where = self.target.socket or f"{self.target.host} port {self.target.port}"
            raise Unreachable(f"{where}: the answer broke off", "the log of that host says why; try again") from None
        except OSError as error:
            raise unreachable(self.target, error) from None


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, where: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._where = where

    def connect(self) -> None:
        self.sock = open_unix(self._where)


def open_unix(where: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(TIMEOUT)
    try:
        sock.connect(where)
    except OSError:
        sock.close()
        raise
    return sock


def connect(target: Target) -> http.client.HTTPConnection:
    """A connection that opens with its first request."""
    if target.socket:
        return UnixConnection(target.socket)
    if target.tls:
        return http.client.HTTPSConnection(target.host, target.port, timeout=TIMEOUT, context=target.context())
    return http.client.HTTPConnection(target.host, target.port, timeout=TIMEOUT)


def with_query(where: str, query: Mapping[str, Any] | None) -> str:
    """A path with its query; None leaves a parameter out, truth values become true and false."""
    given = {key: value for key, value in (query or {}).items() if value is not None}
    words = {key: str(value).lower() if isinstance(value, bool) else value for key, value in given.items()}
    return f"{where}?{urlencode(words)}" if words else where


def refusal(answer: Answer) -> Refused:
    """The error that an answer of 400 and above says."""
    try:
        problem = answer.json()
        detail, hint, errors = problem["detail"], problem.get("hint", ""), problem.get("errors", [])
    except (ValueError, KeyError, TypeError):
        detail, hint, errors = f"the server answered {answer.status}", "is this a server of Skep?", []
    return Refused(detail, hint, status=answer.status, errors=errors)


def unreachable(target: Target, error: Exception) -> Unreachable:
    """What a failed connection means for people."""
    where = target.socket or f"{target.host} port {target.port}"
    if isinstance(error, PermissionError):
        return Unreachable(f"{where}: you may not connect", "join the group skep, or use https:// and a token")
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        hint = "is skepd running?" if target.socket else "is skep-gateway running there?"
        return Unreachable(f"{where}: nobody listens", f"{hint} --url or $SKEP_URL names another server")
    if type(error).__name__ == "SSLCertVerificationError":
        reason = getattr(error, "verify_message", "") or str(error)
        return Unreachable(f"{where}: its certificate is not trusted ({reason})", "give the CA of that host by --ca")
    if isinstance(error, TimeoutError):
        return Unreachable(f"{where}: no answer within {TIMEOUT:.0f} s", "is the line down?")
    return Unreachable(f"{where}: {error or type(error).__name__}", "try again; skepd may be restarting")


def _answer(response: http.client.HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, headers, response.read())
