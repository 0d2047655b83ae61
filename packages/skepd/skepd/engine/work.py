"""Work of skepd itself inside a plan: pulling images, waiting until guests are healthy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from skep_helper.vocabulary import Probe, ProbeReading, ReadGuests

from skepd.apply.executor import Cancelled
from skepd.host import Host, Progress
from skepd.plan.steps import AwaitGate, PullImage, Work

POLL_SECONDS = 1.0


class Unhealthy(Exception):
    """A guest did not become healthy in time; the text says what the last try saw."""


class Pull(Protocol):
    def __call__(
        self,
        host: Host,
        name: str,
        version: str,
        sources: Sequence[str],
        *,
        progress: Progress,
        cancelled: Callable[[], bool],
        log: Callable[[str], None],
    ) -> object: ...


class Worker:
    """Carries out Work. pull: fetches an image onto the host. sleep and clock are given, so that tests do not wait."""

    def __init__(
        self,
        pull: Pull,
        log: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pull, self._log, self._sleep, self._clock = pull, log, sleep, clock

    def __call__(self, host: Host, work: Work, progress: Progress, cancelled: Callable[[], bool]) -> None:
        if isinstance(work, PullImage):
            self._pull(
                host,
                work.image,
                work.version,
                work.sources,
                progress=progress,
                cancelled=cancelled,
                log=self._log,
            )
        else:
            self._await(host, work, progress, cancelled)

    def _await(self, host: Host, work: AwaitGate, progress: Progress, cancelled: Callable[[], bool]) -> None:
        begin = self._clock()
        while self._clock() - begin < work.delay:
            self._pause(cancelled)
        if work.gate is None:
            return
        limit, gate = work.gate.timeout, work.gate
        probe = Probe(
            kind=gate.kind,
            guest=work.guest,
            network=work.network,
            address=gate.address or work.address,
            port=gate.port,
            text=gate.text,
        )
        begin = self._clock()
        while True:
            (reading,) = host.perform((probe,))
            passed = int(self._clock() - begin)
            progress(min(passed, limit), limit)
            if reading.passed:
                return
            self._check_alive(host, work.guest, reading)
            if passed >= limit:
                raise Unhealthy(
                    f"guest {work.guest} was not healthy after {limit} s ({gate.kind}: {reading.detail}); "
                    f"look at its console: skep guest log {work.guest}"
                )
            self._pause(cancelled)

    def _check_alive(self, host: Host, guest: str, reading: ProbeReading) -> None:
        """A guest that is gone will not become healthy: no need to wait for the rest of the time."""
        (guests,) = host.perform((ReadGuests(),))
        state = next((one for one in guests if one.name == guest), None)
        if state is None or state.state in ("stopped", "crashed"):
            ending = f"{state.ending} {state.message}".strip() if state else "never started"
            raise Unhealthy(f"guest {guest} ended while it was waited for: {ending} ({reading.detail})")

    def _pause(self, cancelled: Callable[[], bool]) -> None:
        if cancelled():
            raise Cancelled
        self._sleep(POLL_SECONDS)
