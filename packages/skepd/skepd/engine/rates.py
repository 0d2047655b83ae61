"""From two readings of what is used to what flows: rates of counters, amounts as they are. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from skep_helper.vocabulary import GuestUsage, PortUsage, UsageReading

GUEST_SERIES = ("cpu", "memory", "disk_read", "disk_write", "net_in", "net_out")
HOST_SERIES = ("cpu", "memory_used", "memory_guests", "arc", "net_in", "net_out")
"""cpu in CPUs, memory in bytes, everything else in bytes a second."""
Values = dict[str, float | None]
"""By the names of a series; None: not known (yet)."""
_MICRO = 1e-6


class Sample(NamedTuple):
    """guests: those that run."""

    host: Values
    guests: dict[str, Values]


def rates(before: UsageReading | None, after: UsageReading, seconds: float, guest_of: Mapping[str, str]) -> Sample:
    """guest_of: the guest of each port. Of what was not there before, or began anew meanwhile, no rate is known."""
    known = before if before is not None and seconds > 0 else UsageReading()
    return Sample(
        host=_host(known, after, seconds),
        guests=_guests(known, after, seconds, guest_of),
    )


def used(reading: UsageReading) -> int:
    """Memory of the host that is in use, without the cache of OpenZFS."""
    host = reading.host
    return max(host.memory - host.free - host.arc, 0)


def _host(before: UsageReading, after: UsageReading, seconds: float) -> Values:
    links = {one.name: one for one in before.uplinks}
    pairs = [(links.get(one.name), one) for one in after.uplinks if one.there]
    return {
        "cpu": _rate(before.host.cpu or None, after.host.cpu, seconds, _MICRO),
        "memory_used": float(used(after)),
        "memory_guests": float(sum(guest.memory for guest in after.guests)),
        "arc": float(after.host.arc),
        "net_in": _sum(_rate(old.received if old else None, new.received, seconds) for old, new in pairs),
        "net_out": _sum(_rate(old.sent if old else None, new.sent, seconds) for old, new in pairs),
    }


def _guests(
    before: UsageReading, after: UsageReading, seconds: float, guest_of: Mapping[str, str]
) -> dict[str, Values]:
    guests, ports = {one.name: one for one in before.guests}, {one.name: one for one in before.ports}
    found = {one.name: _guest(guests.get(one.name), one, seconds) for one in after.guests}
    for port in after.ports:
        values = found.get(guest_of.get(port.name, ""))
        if values is not None:
            _add(values, ports.get(port.name), port, seconds)
    return found


def _guest(before: GuestUsage | None, after: GuestUsage, seconds: float) -> Values:
    return {
        "cpu": _rate(before.cpu if before else None, after.cpu, seconds, _MICRO),
        "memory": float(after.memory),
        "disk_read": _rate(before.disk_read if before else None, after.disk_read, seconds),
        "disk_write": _rate(before.disk_written if before else None, after.disk_written, seconds),
        "net_in": 0.0,
        "net_out": 0.0,
    }


def _add(values: Values, before: PortUsage | None, after: PortUsage, seconds: float) -> None:
    moved = {
        "net_in": _rate(before.received if before else None, after.received, seconds),
        "net_out": _rate(before.sent if before else None, after.sent, seconds),
    }
    for key, value in moved.items():
        values[key] = _sum((values[key], value))


def _rate(before: int | None, after: int, seconds: float, unit: float = 1.0) -> float | None:
    """None for a counter that was not there, or that fell: what it counts began anew."""
    return None if before is None or after < before else (after - before) * unit / seconds


def _sum(values: object) -> float | None:
    known = list(values)  # type: ignore[call-overload]
    return None if None in known else float(sum(known))
