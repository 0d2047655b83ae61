"""What Prometheus is told: one table of names, in the text format 0.0.4. Pure.

The names are a promise: dashboards and alarms of others are built upon them. A new one may come; none changes or goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from .overview import UNENDED, View, problems
from .status import ALIVE

MEDIA = "text/plain; version=0.0.4; charset=utf-8"
Labels = dict[str, str]
Samples = Iterable[tuple[Labels, float]]
_MICRO = 1e-6


class Metric(NamedTuple):
    """kind: gauge, or counter. samples: as far as they are known."""

    name: str
    kind: str
    help: str
    samples: Callable[[View], Samples]


def exposition(view: View) -> str:
    return "".join(text for metric in METRICS for text in _lines(metric, view))


def _lines(metric: Metric, view: View) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
    for labels, value in metric.samples(view):
        words = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"{metric.name}{{{words}}} {_number(value)}\n" if words else f"{metric.name} {_number(value)}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _one(read: Callable[[View], float | None]) -> Callable[[View], Samples]:
    def samples(view: View) -> Samples:
        value = read(view)
        return [] if value is None else [({}, float(value))]

    return samples


def _host(attribute: str, unit: float = 1.0) -> Callable[[View], Samples]:
    return _one(lambda view: getattr(view.usage.host, attribute) * unit if view.usage else None)


def _used(attribute: str, unit: float = 1.0) -> Callable[[View], Samples]:
    """Of guests that run."""
    return lambda view: [
        ({"guest": one.name}, getattr(one, attribute) * unit)
        for one in (view.usage.guests if view.usage else ())
        if one.name in view.desired.guests
    ]


def _moved(attribute: str) -> Callable[[View], Samples]:
    def samples(view: View) -> Samples:
        guest_of = {port.name: port.guest for port in view.desired.ports.values() if port.guest}
        for port in view.usage.ports if view.usage else ():
            if port.name in guest_of:
                yield {"guest": guest_of[port.name], "port": port.name}, getattr(port, attribute)

    return samples


def _uplinks(attribute: str) -> Callable[[View], Samples]:
    return lambda view: [
        ({"uplink": one.name}, getattr(one, attribute))
        for one in (view.usage.uplinks if view.usage else ())
        if one.there
    ]


def _up(view: View) -> Samples:
    for one in view.usage.uplinks if view.usage else ():
        if one.carrier or not one.there:
            yield {"uplink": one.name}, one.there and one.carrier == "up"


def _synchronised(view: View) -> float | None:
    return {"yes": 1.0, "no": 0.0}.get(view.usage.host.clock.synchronised) if view.usage else None


def _offset(view: View) -> float | None:
    offset = view.usage.host.clock.offset if view.usage else None
    return None if offset is None else offset * _MICRO


def _severities(view: View) -> Samples:
    found = Counter(one.severity for one in problems(view))
    return [({"severity": severity}, found[severity]) for severity in ("error", "warning")]


def _guests(read: Callable[[View, str], float | None]) -> Callable[[View], Samples]:
    """Of all that are defined."""

    def samples(view: View) -> Samples:
        for name in sorted(view.desired.guests):
            value = read(view, name)
            if value is not None:
                yield {"guest": name}, value

    return samples


def _state(view: View, name: str) -> str:
    reading = view.observed.guest_of.get(name)
    return reading.state if reading else "stopped"


def _reading(attribute: str) -> Callable[[View, str], float | None]:
    def read(view: View, name: str) -> float | None:
        reading = view.observed.guest_of.get(name)
        return float(getattr(reading, attribute)) if reading and reading.state in ALIVE else None

    return read


def _newest(view: View, name: str) -> float | None:
    folder = view.observed.folder_of.get(name)
    return max((one.created for one in folder.snapshots), default=None) if folder else None


def _disks(attribute: str) -> Callable[[View], Samples]:
    def samples(view: View) -> Samples:
        for folder in view.observed.storage.folders:
            if folder.guest in view.desired.guests:
                for disk in folder.disks:
                    yield {"guest": folder.guest, "disk": disk.disk}, getattr(disk, attribute)

    return samples


def _pools(attribute: str) -> Callable[[View], Samples]:
    return lambda view: [
        ({"pool": pool.name}, getattr(pool, attribute))
        for pool in (view.machine.value.pools if view.machine.value else ())
    ]


def _pool_health(view: View) -> Samples:
    for pool in view.machine.value.pools if view.machine.value else ():
        yield {"pool": pool.name}, pool.health == "ONLINE" and not pool.problem


def _drives(read: Callable[[object], float | None]) -> Callable[[View], Samples]:
    def samples(view: View) -> Samples:
        for drive in view.machine.value.drives if view.machine.value else ():
            value = read(drive.smart) if drive.smart is not None else None
            if value is not None:
                yield {"disk": drive.name}, value

    return samples


def _smart(attribute: str, unknown: int) -> Callable[[View], Samples]:
    def read(smart: object) -> float | None:
        value = getattr(smart, attribute)
        return None if value == unknown else float(value)

    return _drives(read)


def _passed(smart: object) -> float | None:
    return {"passed": 1.0, "failed": 0.0}.get(getattr(smart, "health", ""))


def _operations(view: View) -> Samples:
    found = Counter(one.state for one in view.operations)
    return [({"state": state}, found[state]) for state in UNENDED]


METRICS = (
    Metric(
        "skep_info", "gauge", "Always 1.",
        lambda view: [({"version": view.version, "platform": view.facts.platform, "host": view.facts.hostname}, 1)],
    ),
    Metric("skep_problems", "gauge", "What GET /v1/health says is not well.", _severities),
    Metric("skep_operations", "gauge", "Operations that have not ended.", _operations),
    Metric("skep_host_boot_time_seconds", "gauge", "When the host was booted.", _host("booted")),
    Metric("skep_host_cpus", "gauge", "CPUs of the host.", _host("cpus")),
    Metric("skep_host_cpu_seconds_total", "counter", "Time that CPUs of the host worked.", _host("cpu", _MICRO)),
    Metric("skep_host_memory_bytes", "gauge", "Memory of the host.", _host("memory")),
    Metric("skep_host_memory_free_bytes", "gauge", "Memory that new guests can have.", _host("free")),
    Metric("skep_host_arc_bytes", "gauge", "The cache of OpenZFS, which gives way.", _host("arc")),
    Metric(
        "skep_host_clock_synchronised", "gauge", "Whether something keeps the clock right.", _one(_synchronised),
    ),
    Metric("skep_host_clock_offset_seconds", "gauge", "Of the clock, where it is known.", _one(_offset)),
    Metric(
        "skep_storage_size_bytes", "gauge", "Where guests lie: all there is.",
        _one(lambda view: view.observed.storage.total),
    ),
    Metric("skep_storage_free_bytes", "gauge", "What is free of it.", _one(lambda view: view.observed.storage.free)),
    Metric("skep_pool_size_bytes", "gauge", "Size of a pool of OpenZFS.", _pools("size")),
    Metric("skep_pool_allocated_bytes", "gauge", "What is used of it.", _pools("allocated")),
    Metric("skep_pool_healthy", "gauge", "Whether it is ONLINE and without errors.", _pool_health),
    Metric("skep_disk_healthy", "gauge", "What SMART says of a disk, where it says so.", _drives(_passed)),
    Metric("skep_disk_bad_sectors", "gauge", "Sectors not readable or replaced.", _smart("bad", -1)),
    Metric("skep_disk_worn_percent", "gauge", "Of the life of flash.", _smart("worn", -1)),
    Metric("skep_disk_temperature_celsius", "gauge", "Of a disk.", _smart("temperature", 0)),
    Metric("skep_uplink_up", "gauge", "Whether an uplink is there and has carrier.", _up),
    Metric("skep_uplink_receive_bytes_total", "counter", "Of an uplink.", _uplinks("received")),
    Metric("skep_uplink_transmit_bytes_total", "counter", "Of an uplink.", _uplinks("sent")),
    Metric(
        "skep_guest_running", "gauge", "Whether a guest runs (or is paused).",
        _guests(lambda view, name: _state(view, name) in ALIVE),
    ),
    Metric(
        "skep_guest_crashed", "gauge", "Whether a guest ended by an error.",
        _guests(lambda view, name: _state(view, name) == "crashed"),
    ),
    Metric("skep_guest_start_time_seconds", "gauge", "When it was started.", _guests(_reading("started"))),
    Metric("skep_guest_reboots_total", "counter", "Reboots since it was started.", _guests(_reading("reboots"))),
    Metric(
        "skep_guest_cpus", "gauge", "CPUs of its definition.",
        _guests(lambda view, name: view.desired.guests[name].cpus.total),
    ),
    Metric(
        "skep_guest_memory_limit_bytes", "gauge", "Memory of its definition.",
        _guests(lambda view, name: view.desired.guests[name].memory),
    ),
    Metric("skep_guest_cpu_seconds_total", "counter", "Time of its VMM since it was started.", _used("cpu", _MICRO)),
    Metric("skep_guest_memory_bytes", "gauge", "Memory of its VMM that is resident.", _used("memory")),
    Metric("skep_guest_disk_read_bytes_total", "counter", "From the host's storage.", _used("disk_read")),
    Metric("skep_guest_disk_written_bytes_total", "counter", "To the host's storage.", _used("disk_written")),
    Metric("skep_guest_receive_bytes_total", "counter", "That came to the guest at a port.", _moved("received")),
    Metric("skep_guest_transmit_bytes_total", "counter", "That the guest sent at a port.", _moved("sent")),
    Metric("skep_guest_disk_size_bytes", "gauge", "Size of a disk as the guest sees it.", _disks("size")),
    Metric("skep_guest_disk_allocated_bytes", "gauge", "What it takes of the storage.", _disks("allocated")),
    Metric("skep_guest_snapshot_newest_seconds", "gauge", "When its newest snapshot was taken.", _guests(_newest)),
)  # fmt: skip


def names_table() -> str:
    """METRICS for docs/monitoring.md."""
    rows = [f"| `{one.name}` | {one.kind} | {one.help} |" for one in METRICS]
    return "\n".join(["| name | kind | what |", "|---|---|---|", *rows])
