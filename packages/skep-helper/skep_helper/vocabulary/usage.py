"""How much is used: counters that only rise, and amounts of this moment. Nothing here changes anything."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Amount, Checked, Name, PortName, ShortText, SystemName, word


@dataclass(frozen=True, kw_only=True)
class ReadUsage(Checked):
    """Answer: UsageReading. A constant number of processes, whatever the number of guests and ports."""


@dataclass(frozen=True, kw_only=True)
class ClockReading(Checked):
    """Whether something disciplines the host's clock, as the kernel says it. offset, error: in microseconds, of the
    true time; None: nobody told the kernel."""

    synchronised: word("yes", "no", "unknown") = "unknown"  # type: ignore[valid-type]
    offset: int | None = None
    error: int | None = None


@dataclass(frozen=True, kw_only=True)
class HostUsage(Checked):
    """booted: seconds since 1970, 0 unknown. cpu: microseconds that all CPUs together did something. memory: all there
    is; free: what new guests can have, without what the ARC would give back; arc: the cache of OpenZFS, 0 for none."""

    booted: Amount = 0
    cpus: Amount = 0
    cpu: Amount = 0
    memory: Amount = 0
    free: Amount = 0
    arc: Amount = 0
    clock: ClockReading = ClockReading()


@dataclass(frozen=True, kw_only=True)
class GuestUsage(Checked):
    """A guest that runs. cpu: microseconds of its VMM since that began, memory: of it that is resident. disk_read,
    disk_written: bytes of the host's storage."""

    name: Name
    cpu: Amount = 0
    memory: Amount = 0
    disk_read: Amount = 0
    disk_written: Amount = 0


@dataclass(frozen=True, kw_only=True)
class PortUsage(Checked):
    """received, sent: bytes as the guest sees them."""

    name: PortName
    received: Amount = 0
    sent: Amount = 0


@dataclass(frozen=True, kw_only=True)
class UplinkUsage(Checked):
    """An interface of the host that the policy lets networks use. carrier: "" when the system does not tell."""

    name: SystemName
    there: bool = True
    carrier: word("", "up", "down") = ""  # type: ignore[valid-type]
    received: Amount = 0
    sent: Amount = 0


@dataclass(frozen=True, kw_only=True)
class UsageReading(Checked):
    """trouble: why a part of it is not known, empty when all is."""

    host: HostUsage = HostUsage()
    guests: tuple[GuestUsage, ...] = ()
    ports: tuple[PortUsage, ...] = ()
    uplinks: tuple[UplinkUsage, ...] = ()
    trouble: ShortText = ""
