"""Every 15 seconds: read what is used, keep it, tell those who listen."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from skep_helper.vocabulary import ReadUsage, UsageReading

from skepd.host import Host, HostError
from skepd.model.names import Kind, Ref

from .contract import Unknown
from .events import Events
from .history import history
from .rates import GUEST_SERIES, HOST_SERIES, Sample, rates
from .rings import FINE, Rings
from .store import Store

log = logging.getLogger("skepd.metrics")
HOST_RING = "host"
FRESH = 5.0
"""Seconds for which a reading is as good as a new one."""


class Sampler:
    """Owns a thread. clock: seconds since the epoch, of the rings; monotonic: of rates."""

    def __init__(
        self, host: Host, store: Store, events: Events, rings: Rings, clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._host, self._store, self._events, self._rings = host, store, events, rings
        self._clock, self._monotonic = clock, monotonic
        self._lock = threading.Lock()
        self._latest: tuple[float, UsageReading] | None = None
        self._before: tuple[float, UsageReading] | None = None
        self.sample: Sample | None = None
        """The last one."""
        self._stop = threading.Event()
        self._warned = ""
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        store.listen(self._forget)

    def start(self) -> None:
        self._rings.keep({HOST_RING, *map(_ring, self._store.desired.guests), *self._broken()})
        self._thread.start()

    def close(self) -> None:
        self._stop.set()

    def join(self) -> None:
        if self._thread.is_alive():
            self._thread.join(10.0)

    def usage(self, fresh: float = FRESH) -> UsageReading:
        """A reading that is at most `fresh` seconds old. Raises HostError."""
        with self._lock:
            if self._latest is None or self._monotonic() - self._latest[0] > fresh:
                (reading,) = self._host.perform((ReadUsage(),))
                self._latest = (self._monotonic(), reading)
            return self._latest[1]

    def recent(self, fresh: float = FINE.step + FRESH) -> UsageReading | None:
        """The last reading of the sampler, or one of now; None when there is none."""
        try:
            return self.usage(fresh)
        except HostError as error:
            self._warn(str(error))
            return None

    def take(self) -> None:
        """One sample of this moment. Raises HostError."""
        reading, now = self.usage(0.0), self._monotonic()
        desired, before = self._store.desired, self._before
        guest_of = {port.name: port.guest for port in desired.ports.values() if port.guest is not None}
        sample = rates(before[1] if before else None, reading, now - before[0] if before else 0.0, guest_of)
        self._before = (now, reading)
        self.sample = Sample(sample.host, {name: one for name, one in sample.guests.items() if name in desired.guests})
        when = self._clock()
        self._rings.add(HOST_RING, when, [self.sample.host[key] for key in HOST_SERIES])
        for name, values in self.sample.guests.items():
            self._rings.add(_ring(name), when, [values[key] for key in GUEST_SERIES])
        self._events.tell("metrics", "host", host=self.sample.host, guests=self.sample.guests)

    def history(self, guest: str | None, span: int) -> dict[str, Any]:
        """Of a guest, or (None) of the host. Raises Unknown."""
        if guest is None:
            return history(self._rings, HOST_RING, HOST_SERIES, self._clock(), span)
        if guest not in self._store.desired.guests:
            raise Unknown(f"there is no guest {guest!r}")
        return history(self._rings, _ring(guest), GUEST_SERIES, self._clock(), span)

    def _run(self) -> None:
        # At the beginning of each step, so that each has one sample.
        while not self._stop.wait(FINE.step - self._clock() % FINE.step):
            try:
                self.take()
                self._warned = ""
            except (HostError, OSError) as error:
                self._warn(str(error))
            except Exception as error:
                # A fault of ours must not end the samples for the years that skepd runs.
                log.exception("taking a sample failed")
                self._warn(repr(error))

    def _warn(self, text: str) -> None:
        if text != self._warned:
            log.warning("no sample of what is used: %s", text)
        self._warned = text

    def _forget(self, ref: Ref, exists: bool) -> None:
        if ref.kind is Kind.GUEST and not exists:
            self._rings.remove(_ring(ref.name))

    def _broken(self) -> set[str]:
        """Guests whose definition cannot be read now: they may be back."""
        return {_ring(ref.name) for ref in self._store.broken if ref.kind is Kind.GUEST}


def _ring(guest: str) -> str:
    return f"guest.{guest}"
