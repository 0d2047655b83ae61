"""One client of the helper, and the batch of requests that it waits for."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from . import codec, wire
from .jobs import Job, Result
from .vocabulary import Cancel, Rejected
from .vocabulary.streams import TAKE_DESCRIPTOR

MOST_REQUESTS = 10_000
MOST_PENDING = 96 << 20
MOST_TOLD = 8192
"""Characters of the reason of a failure."""
MOST_ANSWERED = wire.ANSWER_LIMIT - (1 << 20)
"""Bytes of all answers of a batch; the rest of the frame says how it ended."""
_HIGHEST_ID = 1024
_TAKING = frozenset(kind.__name__ for kind in TAKE_DESCRIPTOR)


@dataclass(eq=False)
class Batch:
    """Requests that came in one frame: those before `index` are done, `answers` and `descriptors` are theirs.

    answers: each as JSON text; size: of all of them, in bytes.
    """

    connection: Connection
    identity: int
    requests: list[Any]
    received: tuple[int, ...] = ()
    index: int = 0
    answers: list[bytes] = field(default_factory=list)
    size: int = 0
    descriptors: list[int] = field(default_factory=list)
    job: Job | None = None
    cancelled: bool = False

    def kind(self) -> str:
        """The type of the request that is next or under way, for the log; it may be anything that came."""
        return _kind(self.requests[self.index])

    def decode(self) -> Any:
        """The next request; raises Rejected."""
        request = codec.decode(self.requests[self.index])
        if type(request) in TAKE_DESCRIPTOR and not self.received:
            raise Rejected(f"{self.kind()} needs a descriptor, and to come alone with it")
        return request


def _kind(request: Any) -> str:
    return str(request.get("type", "")) if isinstance(request, dict) else "?"


class Connection:
    """A client. Never blocks; raises wire.Closed or OSError when the client is gone or speaks nonsense."""

    def __init__(self, peer: socket.socket, uid: int) -> None:
        self.socket = peer
        self.uid = uid
        self.batch: Batch | None = None
        self._reader = wire.Reader(wire.REQUEST_LIMIT)
        self._writer = wire.Writer()
        peer.setblocking(False)

    def read(self) -> wire.Frame | None:
        """The next frame, if it has come completely."""
        try:
            while True:
                frame = self._reader.read(self.socket)
                if frame:
                    return frame
        except BlockingIOError:
            return None

    def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Queue a message and send what can be sent now. Owns the descriptors from here on."""
        self._send(wire.pack(message), descriptors)

    def finish(self, batch: Batch, result: Result | None, descriptors: Sequence[int] = ()) -> None:
        """Send the frame that ends a batch: complete (result None), or failed at its index."""
        self._send(final_frame(batch, result), descriptors)

    def _send(self, frame: bytes, descriptors: Sequence[int]) -> None:
        self._writer.add_frame(frame, descriptors)
        if self._writer.pending > MOST_PENDING:
            raise wire.Closed("it does not read its answers")
        self.flush()

    def flush(self) -> None:
        try:
            self._writer.write(self.socket)
        except BlockingIOError:
            return

    @property
    def pending(self) -> bool:
        return self._writer.pending > 0

    def progress(self, done: int, total: int) -> None:
        """Pass on what a long request tells. A slow client misses some of it."""
        if self.batch and not self.pending:
            self.send({"id": self.batch.identity, "index": self.batch.index, "progress": [done, total]})

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
        self.socket.close()


def parse(connection: Connection, frame: wire.Frame) -> Batch:
    """A frame as a batch; raises Rejected. Single requests are decoded when their turn comes."""
    if frame.surplus:
        raise Rejected("more descriptors came than may come")
    message = codec.loads(frame.data)
    if not isinstance(message, dict) or set(message) != {"id", "requests"}:
        raise Rejected('a request frame is {"id": ..., "requests": [...]}')
    identity, requests = message["id"], message["requests"]
    if type(identity) is not int or not 1 <= identity <= _HIGHEST_ID:
        raise Rejected(f"id must be a number from 1 to {_HIGHEST_ID}")
    if not isinstance(requests, list) or not 1 <= len(requests) <= MOST_REQUESTS:
        raise Rejected(f"requests must be a list of 1 to {MOST_REQUESTS}")
    return Batch(connection, identity, requests, frame.descriptors)


def check_descriptors(batch: Batch) -> None:
    """A descriptor comes alone, with a request that takes one and is alone too; raises Rejected."""
    if batch.received and (len(batch.received) > 1 or len(batch.requests) > 1 or batch.kind() not in _TAKING):
        raise Rejected("descriptors came with requests that take none")


def cancelled_id(batch: Batch) -> int | None:
    """Which batch this one, consisting of one Cancel, is about; None for every other batch."""
    if len(batch.requests) != 1 or batch.kind() != Cancel.__name__:
        return None
    request = batch.decode()
    return request.request if isinstance(request, Cancel) else None


def final_frame(batch: Batch, result: Result | None) -> bytes:
    """The answers were turned into text one by one, so that their size was known before there were too many."""
    text = b'{"id":%d,"answers":[%s]' % (batch.identity, b",".join(batch.answers))
    if result is None:
        return wire.frame(text + b"}")
    failure = {"failed": batch.index, "code": result.code, "message": result.message[:MOST_TOLD]}
    return wire.frame(text + b"," + wire.text_of(failure)[1:])
