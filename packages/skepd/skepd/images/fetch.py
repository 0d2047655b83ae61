"""Fetch the chunks of an image from several mirrors at a time, verify each, and hand it to the sink.

A worker takes the lowest chunk that is left and the mirror that has the least to do; a failing mirror rests, then
is asked again, then no longer. When nothing is left to take, what hangs at one mirror is asked of another too, so
the slowest mirror never sets the pace of the end.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from skep.images.manifest import Manifest
from skep.images.verify import VerifyError, stored_length, unpack

from .connection import Connection
from .options import MirrorError, Options, PullCancelled, PullError
from .sink import Closed, Sink

_TICK = 0.1
_MOST_BAD_CHUNKS = 3
_MOST_RESTS = 10


@dataclass(eq=False)
class Mirror:
    """strikes: failures since the last success. dropped: why it is no longer asked, empty while it is."""

    base: str
    strikes: int = 0
    bad: int = 0
    dropped: str = ""
    rests_until: float = 0.0
    active: int = 0


@dataclass(eq=False)
class Flight:
    """One chunk on its way from one mirror."""

    index: int
    mirror: Mirror
    connection: Connection
    started: float
    deadline: float


@dataclass
class _Failures:
    """How often a chunk failed at each mirror, and why the last time."""

    tries: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


class Fetch:
    """One pull's transfer. `run` is called once."""

    def __init__(
        self,
        manifest: Manifest,
        mirrors: list[Mirror],
        sink: Sink,
        options: Options,
        context: ssl.SSLContext,
        log: Callable[[str], None],
    ) -> None:
        self._manifest = manifest
        self._mirrors = mirrors
        self._sink = sink
        self._options = options
        self._context = context
        self._log = log
        self._count = len(manifest.chunks)
        self._lengths = [stored_length(manifest, index) for index in range(self._count)]
        self._offsets = [0, *itertools.accumulate(self._lengths)]
        self._turn = threading.Condition()
        self._pending: list[int] = []
        self._flights: list[Flight] = []
        self._done: set[int] = set()
        self._bytes_done = 0
        self._failures: dict[int, _Failures] = {}
        self._followed = 0
        self._whole = hashlib.sha256()
        self._error: Exception | None = None
        self._stopped = False

    def run(self, have: set[int], cancelled: Callable[[], bool], progress: Callable[[int, int], None]) -> str:
        """Fetch every chunk but those in `have`; returns the SHA-256 of the whole as the sink holds it.

        progress: (done, total) bytes of the image. Raises PullError, PullCancelled and OSError of the sink; when it
        returns or raises, no thread of it touches the sink any more.
        """
        self._done = set(have)
        self._bytes_done = sum(self._manifest.chunk_length(index) for index in have)
        self._pending = sorted(set(range(self._count)) - have)
        names = [f"image-fetch-{number}" for number in range(min(self._options.connections, len(self._pending)))]
        threads = [threading.Thread(target=self._guarded, args=(self._work,), name=name, daemon=True) for name in names]
        threads.append(threading.Thread(target=self._guarded, args=(self._follow,), name="image-follow", daemon=True))
        try:
            for thread in threads:
                thread.start()
            self._watch(cancelled, progress)
        finally:
            self._stop()
            for thread in threads:
                # One that waits for a name server is left behind: it finds the sink closed.
                thread.join(timeout=1)
        return self._whole.hexdigest()

    def _watch(self, cancelled: Callable[[], bool], progress: Callable[[int, int], None]) -> None:
        """Until everything is followed: report, and end requests that are overdue."""
        shown = -1
        while True:
            with self._turn:
                over = self._turn.wait_for(lambda: self._error or self._followed == self._count, _TICK)
                if self._error:
                    raise self._error
                now = time.monotonic()
                for flight in self._flights:
                    if now > flight.deadline:
                        flight.connection.abort(f"is slower than {self._options.minimum_rate} bytes per second")
                done = self._bytes_done
            if done != shown:
                progress(done, self._manifest.size)
                shown = done
            if over:
                return
            if cancelled():
                raise PullCancelled("the pull was cancelled")

    def _stop(self) -> None:
        with self._turn:
            self._stopped = True
            for flight in self._flights:
                flight.connection.abort("the pull has ended")
            self._turn.notify_all()
        self._sink.close()

    def _guarded(self, target: Callable[[], None]) -> None:
        """A thread's outermost frame: what ends a thread ends the pull, in the caller's thread."""
        try:
            target()
        except Closed:
            return
        except Exception as error:  # noqa: BLE001 - raised again by _watch
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        with self._turn:
            self._error = self._error or error
            self._turn.notify_all()

    # The thread that follows: digest of the whole, in order.

    def _follow(self) -> None:
        for index in range(self._count):
            with self._turn:
                self._turn.wait_for(lambda index=index: self._stopped or index in self._done)  # type: ignore[misc]
                if self._stopped:
                    return
            self._whole.update(self._sink.follow(index))
            with self._turn:
                self._followed = index + 1
                self._turn.notify_all()

    # The workers.

    def _work(self) -> None:
        connections: dict[str, Connection] = {}
        buffer = memoryview(bytearray(max(self._lengths)))
        try:
            while flight := self._take(connections):
                self._carry_out(flight, buffer[: self._lengths[flight.index]])
        finally:
            for connection in connections.values():
                connection.close()

    def _carry_out(self, flight: Flight, view: memoryview) -> None:
        index, manifest, base = flight.index, self._manifest, flight.mirror.base
        url = image_url(base, manifest.name, manifest.version, manifest.file_name)
        try:
            flight.connection.fetch_range(url, self._offsets[index], view, manifest.stored_size)
            data = unpack(manifest, index, view, base)
            if index not in self._done:
                self._sink.store(index, data)
        except (MirrorError, VerifyError) as error:
            self._failed(flight, error)
            return
        except BaseException:
            self._land(flight)
            raise
        with self._turn:
            self._land(flight)
            flight.mirror.strikes = 0
            if index not in self._done:
                self._done.add(index)
                self._bytes_done += manifest.chunk_length(index)
            for other in self._flights:
                if other.index == index:
                    other.connection.abort("another mirror was faster")
            self._turn.notify_all()

    def _land(self, flight: Flight) -> None:
        with self._turn:
            self._flights.remove(flight)
            flight.mirror.active -= 1

    def _failed(self, flight: Flight, error: Exception) -> None:
        mirror, index = flight.mirror, flight.index
        with self._turn:
            self._land(flight)
            if index in self._done or self._stopped:
                return
            failures = self._failures.setdefault(index, _Failures())
            failures.tries[mirror.base] = failures.tries.get(mirror.base, 0) + 1
            failures.reasons[mirror.base] = str(error)
            mirror.strikes += 1
            mirror.bad += isinstance(error, VerifyError)
            mirror.rests_until = time.monotonic() + self._options.rest_seconds * min(mirror.strikes, _MOST_RESTS)
            hopeless = mirror.strikes >= self._options.tries * self._options.connections
            lasting = isinstance(error, MirrorError) and error.lasting
            if (lasting or hopeless or mirror.bad >= _MOST_BAD_CHUNKS) and not mirror.dropped:
                mirror.dropped = str(error)
                self._log(f"{mirror.base} is no longer asked: {error}")
            if not any(other.index == index for other in self._flights):
                heapq.heappush(self._pending, index)
            self._turn.notify_all()

    def _take(self, connections: dict[str, Connection]) -> Flight | None:
        """The next chunk to fetch and where from; waits until there is one. None when the pull is over."""
        with self._turn:
            while not self._stopped and not self._error and len(self._done) < self._count:
                now = time.monotonic()
                chosen = self._next(now) if self._pending else self._hedge(now)
                if chosen is not None:
                    return self._begin(*chosen, connections, now)
                self._turn.wait(_TICK)
            return None

    def _next(self, now: float) -> tuple[int, Mirror] | None:
        """The lowest chunk and a mirror for it, None when one has to wait; raises PullError when no mirror is left."""
        index = self._pending[0]
        if self._sink.window is not None and index >= self._followed + self._sink.window:
            return None
        able = self._able(index)
        if not able:
            raise PullError(self._explain(index))
        ready = [mirror for mirror in able if mirror.rests_until <= now]
        if not ready:
            return None
        heapq.heappop(self._pending)
        tries = self._failures.get(index, _Failures()).tries
        return index, min(ready, key=lambda mirror: (tries.get(mirror.base, 0), mirror.active))

    def _able(self, index: int) -> list[Mirror]:
        tries = self._failures.get(index, _Failures()).tries
        return [
            mirror for mirror in self._mirrors if not mirror.dropped and tries.get(mirror.base, 0) < self._options.tries
        ]

    def _hedge(self, now: float) -> tuple[int, Mirror] | None:
        """A chunk that has been on its way for long, and another mirror for it."""
        for flight in self._flights:
            alone = sum(other.index == flight.index for other in self._flights) == 1
            if not alone or flight.index in self._done or now - flight.started < self._options.hedge_seconds:
                continue
            for mirror in self._able(flight.index):
                if mirror is not flight.mirror and mirror.rests_until <= now:
                    return flight.index, mirror
        return None

    def _begin(self, index: int, mirror: Mirror, connections: dict[str, Connection], now: float) -> Flight:
        connection = connections.get(mirror.base)
        if connection is None:
            connection = connections[mirror.base] = Connection(self._options, self._context)
        connection.begin()
        options = self._options
        patience = options.connect_seconds + options.stall_seconds + self._lengths[index] / options.minimum_rate
        flight = Flight(index, mirror, connection, now, now + patience)
        mirror.active += 1
        self._flights.append(flight)
        return flight

    def _explain(self, index: int) -> str:
        first, reasons = self._offsets[index], self._failures.get(index, _Failures()).reasons
        told = [f"{mirror.base}: {reasons.get(mirror.base) or mirror.dropped}" for mirror in self._mirrors]
        return (
            f"{self._manifest.name} {self._manifest.version}: chunk {index} of {self._count} "
            f"(bytes {first}-{first + self._lengths[index] - 1}) could not be fetched: {'; '.join(told)}"
        )


def image_url(base: str, name: str, version: str, file: str) -> str:
    """The URL of a file of a published image. `+` is escaped, because some servers take it for a space."""
    return base + f"/{name}/{version}/{file}".replace("+", "%2B")
