"""What the simulated host uses: made up from names and time, so that it moves and is the same in every run."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

from skep_helper import vocabulary as v

from .guests import SimGuest, SimGuests
from .network import SimNetwork
from .table import Table

MIB, SECOND = 1 << 20, 1_000_000


class SimUsage:
    """clock: seconds since the epoch; counters of the host rise with it."""

    def __init__(
        self, clock: Callable[[], float], memory: int, cpus: int, uplinks: tuple[str, ...], guests: SimGuests,
        network: SimNetwork,
    ) -> None:  # fmt: skip
        self._clock, self._memory, self._cpus, self._uplinks = clock, memory, cpus, uplinks
        self._guests, self._network = guests, network
        self._booted = int(clock())
        self.time = v.ClockReading(synchronised="yes", offset=180, error=2500)
        """For whoever plays with it."""

    def table(self) -> Table:
        return {v.ReadUsage: self.read}

    def read(self, request: v.ReadUsage) -> v.UsageReading:
        now = self._clock()
        alive = [guest for _, guest in sorted(self._guests.running.items()) if guest.alive]
        guests = tuple(_guest(guest, now) for guest in alive)
        arc = self._memory // 16
        taken = sum(guest.memory for guest in guests)
        return v.UsageReading(
            host=v.HostUsage(
                booted=self._booted,
                cpus=self._cpus,
                cpu=sum(guest.cpu for guest in guests) + _risen("host", "cpu", now - self._booted, 0.3 * SECOND),
                memory=self._memory,
                free=max(self._memory * 7 // 8 - arc - taken, 0),
                arc=arc,
                clock=self.time,
            ),
            guests=guests,
            ports=tuple(self._port(name, now) for name in sorted(self._network.ports)),
            uplinks=tuple(_uplink(name, now - self._booted) for name in self._uplinks),
        )

    def _port(self, name: str, now: float) -> v.PortUsage:
        guest = self._guests.running.get(self._network.ports[name].guest or "")
        life = now - guest.started if guest is not None and guest.alive else 0.0
        return v.PortUsage(
            name=name,
            received=_risen(name, "received", life, 0.4 * MIB),
            sent=_risen(name, "sent", life, 0.1 * MIB),
        )


def _guest(guest: SimGuest, now: float) -> v.GuestUsage:
    name, life = guest.spec.name, now - guest.started
    cpus = guest.spec.cpus.sockets * guest.spec.cpus.cores * guest.spec.cpus.threads
    return v.GuestUsage(
        name=name,
        cpu=_risen(name, "cpu", life, 0.3 * cpus * SECOND),
        memory=int(guest.spec.memory * (0.5 + 0.3 * math.sin(_phase(name, "memory") + life / 600))),
        disk_read=_risen(name, "read", life, 0.5 * MIB),
        disk_written=_risen(name, "written", life, 0.2 * MIB),
    )


def _uplink(name: str, life: float) -> v.UplinkUsage:
    return v.UplinkUsage(
        name=name, carrier="up", received=_risen(name, "received", life, MIB), sent=_risen(name, "sent", life, MIB)
    )


def _risen(name: str, what: str, seconds: float, rate: float) -> int:
    """A counter after so many seconds, at a rate that swings around `rate` by nearly all of it, and never falls."""
    seconds, phase = max(seconds, 0.0), _phase(name, what)
    period = 60.0 * (1 + phase)
    swing = 0.9 * period * (math.cos(phase) - math.cos(phase + seconds / period))
    return int(rate * max(seconds + swing, 0.0))


def _phase(name: str, what: str) -> float:
    """0 to 2 pi, of its own for each name."""
    return hashlib.sha256(f"{name} {what}".encode()).digest()[0] / 256 * 2 * math.pi
