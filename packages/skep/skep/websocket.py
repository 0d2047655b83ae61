"""A small WebSocket client over the same targets as the HTTP client. Blocking, for one thread that selects."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Mapping
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import ProtocolError

from .client import TIMEOUT, Answer, open_unix, refusal, unreachable, with_query
from .errors import Unreachable
from .settings import Target

CHUNK = 65_536


class WebSocket:
    """Connected when made. Not thread-safe: TLS cannot be read and written by two threads at once."""

    def __init__(
        self,
        target: Target,
        where: str,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Raises Refused with the server's reason, or Unreachable."""
        self._target = target
        self._headers = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._pending: list[bytes | str] = []
        self._closed = False
        self.code, self.reason = 1006, "the line broke"
        """Why the server closed it, once `receive` has returned []."""
        try:
            self._socket = _open(target)
            self._handshake(with_query(where, query))
        except (OSError, ProtocolError) as error:
            raise unreachable(target, error) from None

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def waiting(self) -> bool:
        """Whether `receive` returns at once; what came with the handshake is invisible to `select`."""
        return bool(self._pending) or self._closed

    def send(self, data: bytes) -> None:
        """Send a binary message. Raises Unreachable when the line is gone."""
        self._send(BytesMessage(data=data))

    def receive(self) -> list[bytes | str]:
        """What has come, at least one message; [] at the end. bytes are binary messages, str text ones.

        When `select` says that there is something, this waits at most for the rest of one message. Raises Unreachable.
        """
        while not self._pending and not self._closed:
            try:
                self._feed(self._socket.recv(CHUNK) or None)
                # What TLS has decrypted already is invisible to `select`.
                while isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() and not self._closed:
                    self._feed(self._socket.recv(CHUNK) or None)
            except (OSError, ProtocolError) as error:
                raise unreachable(self._target, error) from None
        found, self._pending = self._pending, []
        return found

    def peek(self) -> bool:
        """Take in what has come, for `receive` to find; False when the server has closed it."""
        held, self._pending = self._pending, []
        self._pending = held + self.receive()
        return not self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(Unreachable):  # gone already: what was wanted
                self._send(CloseConnection(code=1000))
        self._socket.close()

    def _handshake(self, where: str) -> None:
        token = self._target.token
        headers = [*self._headers, *([(b"Authorization", f"Bearer {token}".encode())] if token else [])]
        host = self._target.host or "localhost"
        self._socket.sendall(self._protocol.send(Request(host=host, target=where, extra_headers=headers)))
        rejected: RejectConnection | None = None
        body = b""
        while True:
            self._protocol.receive_data(self._socket.recv(CHUNK) or None)
            for event in self._protocol.events():
                if isinstance(event, AcceptConnection):
                    self._collect()
                    self._socket.settimeout(None)
                    return
                if isinstance(event, RejectConnection):
                    rejected = event
                elif isinstance(event, RejectData):
                    body += event.data
                if rejected is not None and (not rejected.has_body or getattr(event, "body_finished", False)):
                    raise refusal(Answer(rejected.status_code, {}, body))
                if isinstance(event, CloseConnection):
                    raise ConnectionResetError("the connection was closed")

    def _feed(self, data: bytes | None) -> None:
        self._protocol.receive_data(data)
        self._collect()

    def _collect(self) -> None:
        for event in self._protocol.events():
            if isinstance(event, (BytesMessage, TextMessage)):
                self._pending.append(event.data if isinstance(event, TextMessage) else bytes(event.data))
            elif isinstance(event, Ping):
                self._send(event.response())
            elif isinstance(event, CloseConnection):
                self._closed = True
                self.code, self.reason = int(event.code or 1005), event.reason or ""

    def _send(self, event: Any) -> None:
        try:
            self._socket.sendall(self._protocol.send(event))
        except (OSError, ProtocolError) as error:
            raise unreachable(self._target, error) from None


def _open(target: Target) -> socket.socket:
    if target.socket:
        return open_unix(target.socket)
    sock = socket.create_connection((target.host, target.port), timeout=TIMEOUT)
    if not target.tls:
        return sock
    try:
        return target.context().wrap_socket(sock, server_hostname=target.host)
    except OSError:
        sock.close()
        raise
