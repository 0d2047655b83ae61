"""The helper's loop: one thread, which carries out short requests in order and watches the long ones' processes.

Batches wait in one queue; one request of the first batch is carried out, then whatever came meanwhile is looked at.
A long request leaves the queue with its batch and comes back when its process has answered, so that nobody waits
for it but its own client. One thread also means that forking is safe.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from . import codec, log, wire
from .connection import MOST_ANSWERED, Batch, Connection, cancelled_id, check_descriptors, parse
from .handlers import Context, Failure
from .jobs import Job, Result, deadline_of
from .outcome import outcome_of
from .platforms import Platform
from .policy import Policy
from .vocabulary import Cancel, Feature, Hello, HelloReading, Rejected

MOST_CONNECTIONS = 128
PROBING = 90.0
"""Seconds that trying out the host's facilities may take."""
_FAREWELL = 10.0
_IDLE = 60.0


class Server:
    """Serves one listening socket until `stop`. uids: who may speak to it."""

    def __init__(self, policy: Policy, platform: Platform, listener: socket.socket, uids: frozenset[int]) -> None:
        self._policy = policy
        self._platform = platform
        self._listener = listener
        self._uids = uids
        self._selector = selectors.DefaultSelector()
        self._connections: set[Connection] = set()
        self._ready: deque[Batch] = deque()
        self._greeting: list[Batch] = []
        self._working: dict[Job, Callable[[Result], None]] = {}
        self._dying: list[Job] = []
        self._features: tuple[Feature, ...] | None = None
        self._stopping = False
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    # Its life

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish what is short. To be called in the main thread."""
        woken, waker = socket.socketpair()
        for end in (woken, waker):
            end.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ, lambda: self._drain(woken))
        signal.set_wakeup_fd(waker.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._begin()
        while not self._stopping:
            self.turn()
        self._farewell()

    def _begin(self) -> None:
        """What runs beside the first requests: finishing what a crash interrupted, and trying the host's facilities."""
        self._work(lambda _: self._platform.recover(self._policy), PROBING * 10, "recovery", self._recovered)
        self._work(lambda _: self._platform.features(self._policy), PROBING, "probing", self._probed)

    def stop(self) -> None:
        self._stopping = True

    @staticmethod
    def _drain(woken: socket.socket) -> None:
        with suppress(BlockingIOError):
            woken.recv(4096)

    def _farewell(self) -> None:
        """No new requests; short ones that wait are carried out, long ones are told to stop."""
        self._selector.unregister(self._listener)
        self._listener.close()
        for job in self._working:
            job.stop("lost")
        end = time.monotonic() + _FAREWELL
        while (self._ready or self._working or self._unsent()) and time.monotonic() < end:
            self.turn()
        for job in list(self._working):
            job.end()
        for connection in list(self._connections):
            self._drop(connection, "the helper ends")
        log.line("ended")

    def _unsent(self) -> bool:
        return any(connection.pending for connection in self._connections)

    # One turn of the loop

    def turn(self) -> None:
        """Look at what came, then carry out at most one request."""
        for key, mask in self._selector.select(self._patience()):
            if isinstance(key.data, Connection):
                self._serve(key.data, mask)
            else:
                key.data()
        self._expire()
        if self._ready:
            self._step(self._ready[0])

    def _patience(self) -> float:
        if self._ready:
            return 0.0
        soonest = min((job.due() for job in self._working), default=time.monotonic() + _IDLE)
        most = 0.2 if self._dying else _IDLE
        return max(0.0, min(soonest - time.monotonic(), most))

    def _expire(self) -> None:
        for job in list(self._working):
            result = job.expire()
            if result:
                self._ended(job, result)
        self._dying = [job for job in self._dying if not job.reaped()]

    # Connections

    def _accept(self) -> None:
        try:
            peer, _ = self._listener.accept()
            uid = wire.peer_uid(peer)
        except OSError as error:
            log.line("refused-connection", reason=error)
            return
        if uid not in self._uids or len(self._connections) >= MOST_CONNECTIONS:
            reason = "not the policy's user" if uid not in self._uids else "too many connections"
            log.line("refused-connection", uid=uid, reason=reason)
            peer.close()
            return
        connection = Connection(peer, uid)
        self._connections.add(connection)
        self._selector.register(peer, selectors.EVENT_READ, connection)

    def _serve(self, connection: Connection, mask: int) -> None:
        self._guarded(connection, partial(self._converse, connection, mask))

    def _converse(self, connection: Connection, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            connection.flush()
        if mask & selectors.EVENT_READ and not self._stopping:
            frame = connection.read()
            if frame:
                self._take(connection, frame)

    def _guarded(self, connection: Connection, talk: Callable[[], None]) -> None:
        """Talk to a client; one that is gone is dropped."""
        if connection not in self._connections:
            return
        try:
            talk()
        except (wire.Closed, OSError) as error:
            self._drop(connection, str(error))
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.pending else 0)
        if connection in self._connections and self._selector.get_key(connection.socket).events != wanted:
            self._selector.modify(connection.socket, wanted, connection)

    def _drop(self, connection: Connection, reason: str) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._selector.unregister(connection.socket)
        batch = connection.batch
        if batch:
            if batch in self._ready:
                self._ready.remove(batch)
            if batch in self._greeting:
                self._greeting.remove(batch)
            if batch.job:
                batch.job.stop("cancelled")
            self._close_descriptors(batch)
            log.line("dropped", uid=connection.uid, request=batch.kind(), reason=reason)
        connection.close()

    @staticmethod
    def _close_descriptors(batch: Batch) -> None:
        Server._close_received(batch)
        _close(batch.descriptors)
        batch.descriptors = []

    @staticmethod
    def _close_received(batch: Batch) -> None:
        _close(batch.received)
        batch.received = ()

    def _take(self, connection: Connection, frame: wire.Frame) -> None:
        """A frame has come: a batch for the queue, or a Cancel of the one under way."""
        try:
            batch = parse(connection, frame)
            cancelled = cancelled_id(batch)
            if cancelled is not None:
                frame.close()
                connection.send({"id": batch.identity, "answers": [self._cancel(connection, cancelled)]})
                return
            check_descriptors(batch)
            if connection.batch:
                raise Rejected("the connection is busy; only Cancel may be sent meanwhile")
        except Rejected as error:
            frame.close()
            log.line("refused", uid=connection.uid, request="frame", reason=error)
            connection.send({"id": 0, "answers": [], "failed": 0, "code": "rejected", "message": str(error)})
            raise wire.Closed("it sent what is no request") from None
        connection.batch = batch
        self._ready.append(batch)

    def _cancel(self, connection: Connection, identity: int) -> bool:
        batch = connection.batch
        if not batch or batch.identity != identity:
            return False
        batch.cancelled = True
        if batch.job:
            batch.job.stop("cancelled")
        return True

    # Requests

    def _step(self, batch: Batch) -> None:
        """Carry out the next request of the first batch, or start its process."""
        result = outcome_of(lambda: self._begin_request(batch))
        if result.code:
            self._ready.popleft()
            self._fail(batch, Result(code=result.code, message=result.message))
        elif batch.job or batch in self._greeting:
            self._ready.popleft()
        else:
            self._advance(batch, result.answer)

    def _begin_request(self, batch: Batch) -> Any:
        request = batch.decode()
        if isinstance(request, Hello):
            return self._hello(batch, request)
        if isinstance(request, Cancel):
            return False
        handler = self._platform.handlers.get(type(request))
        if handler is None:
            raise Rejected(f"{batch.kind()} is not a request that this host carries out")
        context = Context(policy=self._policy, peer_uid=batch.connection.uid, descriptors=batch.received)
        if type(request) in self._platform.long:
            if self._stopping:
                raise Failure("lost", "the helper is being restarted; repeat the request")
            if batch.cancelled:
                raise Failure("cancelled", "cancelled before it began")
            self._start(batch, lambda job_context: handler(job_context, request), context, deadline_of(request))
            # The process has it now: the other end must see when that one closes it.
            self._close_received(batch)
            return None
        try:
            answer = codec.encode(handler(context, request))
        except BaseException:
            _close(context.answer_descriptors)
            raise
        self._keep(batch, context.answer_descriptors)
        return answer

    @staticmethod
    def _keep(batch: Batch, descriptors: Sequence[int]) -> None:
        """Until the batch is answered."""
        if len(batch.descriptors) + len(descriptors) > wire.MOST_DESCRIPTORS:
            _close(descriptors)
            raise Rejected(f"one batch may open at most {wire.MOST_DESCRIPTORS} descriptors")
        batch.descriptors += descriptors

    def _hello(self, batch: Batch, request: Hello) -> Any:
        if request.version != wire.VERSION:
            message = f"this helper speaks version {wire.VERSION} of the protocol, not {request.version}"
            raise Rejected(f"{message}; restart skepd and skep-helper from the same release")
        if self._features is None:
            self._greeting.append(batch)
            return None
        platform = self._platform
        reading = HelloReading(
            version=wire.VERSION,
            platform=platform.name,
            boot_id=platform.boot_id,
            features=self._features,
            uplinks=self._policy.uplinks,
        )
        return codec.encode(reading)

    def _advance(self, batch: Batch, answer: Any) -> None:
        """A request of a batch that stands first in the queue is done."""
        text = wire.text_of(answer)
        batch.size += len(text) + 1
        if batch.size > MOST_ANSWERED:
            self._ready.popleft()
            message = f"the answers of one batch may have {MOST_ANSWERED >> 20} MiB; ask for less at a time"
            self._fail(batch, Result(code="rejected", message=message))
            return
        batch.answers.append(text)
        batch.index += 1
        if batch.index == len(batch.requests):
            self._ready.popleft()
            self._finish(batch, None)

    def _fail(self, batch: Batch, result: Result) -> None:
        event = "refused" if result.code == "rejected" else "failed"
        words = {"uid": batch.connection.uid, "request": batch.kind(), "code": result.code, "reason": result.message}
        log.line(event, **words)
        self._finish(batch, result)

    def _finish(self, batch: Batch, result: Result | None) -> None:
        descriptors, batch.descriptors = tuple(batch.descriptors), []
        connection = batch.connection
        connection.batch = None
        self._close_descriptors(batch)
        self._guarded(connection, lambda: connection.finish(batch, result, descriptors))

    # Long requests and what runs at start

    def _start(self, batch: Batch, work: Callable[[Context], Any], context: Context, seconds: float) -> None:
        def ended(result: Result) -> None:
            batch.job = None
            if result.code or batch.connection not in self._connections:
                _close(result.descriptors)
                if batch.connection in self._connections:
                    self._fail(batch, result)
                return
            try:
                self._keep(batch, result.descriptors)
            except Rejected as error:
                self._fail(batch, Result(code="rejected", message=str(error)))
                return
            self._ready.appendleft(batch)
            self._advance(batch, result.answer)

        batch.job = self._work(work, seconds, batch.kind(), ended, context, batch.connection)

    def _work(
        self,
        work: Callable[[Context], Any],
        seconds: float,
        name: str,
        ended: Callable[[Result], None],
        context: Context | None = None,
        connection: Connection | None = None,
    ) -> Job:
        job = Job(work, context or Context(policy=self._policy, peer_uid=0), seconds, name)
        self._working[job] = ended
        self._selector.register(job.socket, selectors.EVENT_READ, partial(self._hear, job, connection))
        return job

    def _hear(self, job: Job, connection: Connection | None) -> None:
        def progress(done: int, total: int) -> None:
            if connection:
                self._guarded(connection, lambda: connection.progress(done, total))

        result = job.read(progress)
        if result:
            self._ended(job, result)

    def _ended(self, job: Job, result: Result) -> None:
        ended = self._working.pop(job)
        self._selector.unregister(job.socket)
        job.end()
        if not job.reaped():
            self._dying.append(job)
        ended(result)

    def _recovered(self, result: Result) -> None:
        if result.code:
            log.line("recovery-failed", code=result.code, reason=result.message)

    def _probed(self, result: Result) -> None:
        """Now the host's facilities are known, and Hello can be answered."""
        found = codec.decode_any(result.answer or [])
        if result.code:
            found = (Feature(name="probing", works=False, reason=f"{result.code}: see the helper's log"),)
            log.line("probing-failed", code=result.code, reason=result.message)
        self._features = found
        self._ready.extend(self._greeting)
        self._greeting.clear()


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
