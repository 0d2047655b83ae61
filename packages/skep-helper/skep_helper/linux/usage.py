"""ReadUsage on Linux: files of /proc and /sys and one netlink dump in each namespace; no process is started.

A guest's disk bytes are those of its VMM in /proc/PID/io: what the host's storage really moved. They are there without
asking the VMM, which may hang. On OpenZFS, whose work is done by other threads, they come from the datasets' counters.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .. import usage as common
from ..handlers import Context, Failure, Handler
from ..policy import Policy
from ..usage import Moved
from ..vocabulary.usage import GuestUsage, HostUsage, PortUsage, ReadUsage, UplinkUsage, UsageReading
from .network import names, namespaces
from .network.links import Links
from .network.records import NetworkRecord, Records

_IDLE = (3, 4)
"""Columns of /proc/stat's cpu line (without its name) that are no work: idle, iowait."""
_SECOND = 1_000_000


def read(context: Context, request: ReadUsage) -> UsageReading:
    policy = context.policy
    return UsageReading(
        host=host(),
        guests=tuple(guests(policy)),
        ports=tuple(ports(policy)),
        uplinks=tuple(uplinks(policy)),
    )


def host(root: Path = Path("/")) -> HostUsage:
    """root: where /proc is."""
    memory = parse_memory(_text(root / "proc/meminfo"))
    stat = _text(root / "proc/stat")
    cpus, busy = parse_cpu(stat)
    return HostUsage(
        booted=parse_boot(stat),
        cpus=cpus,
        cpu=busy * _SECOND // os.sysconf("SC_CLK_TCK"),
        memory=memory.get("MemTotal", 0),
        free=memory.get("MemAvailable", 0),
        arc=parse_arc(_text(root / "proc/spl/kstat/zfs/arcstats")),
        clock=common.clock("adjtimex"),
    )


def guests(policy: Policy, root: Path = Path("/")) -> Iterator[GuestUsage]:
    datasets = common.by_guest(f"{policy.dataset}/guests", _datasets(policy, root)) if policy.dataset else None
    for name, pid in common.running(policy):
        folder = root / "proc" / str(pid)
        own = parse_io(_text(folder / "io"))
        moved = own if datasets is None else datasets.get(name, Moved())
        yield GuestUsage(
            name=name,
            cpu=parse_ticks(_text(folder / "stat")) * _SECOND // os.sysconf("SC_CLK_TCK"),
            memory=parse_pages(_text(folder / "statm")) * os.sysconf("SC_PAGE_SIZE"),
            disk_read=moved.read,
            disk_written=moved.written,
        )


def ports(policy: Policy) -> Iterator[PortUsage]:
    records = Records(policy)
    counters = {record.spec.name: _counters(record) for record in records.networks()}
    for port in records.ports():
        there = counters.get(port.spec.network, {}).get(port.interface)
        if there is not None:
            # What a tap received is what its guest sent.
            yield PortUsage(name=port.spec.name, received=there[1], sent=there[0])


def _counters(record: NetworkRecord) -> dict[str, tuple[int, int]]:
    """(received, sent) by interface; empty when its namespace is not there."""
    try:
        descriptor = namespaces.open_namespace(names.network_namespace(record.spec.name), record.inode)
    except Failure:
        return {}
    try:
        with Links.of(descriptor) as links:
            return links.counters()
    finally:
        os.close(descriptor)


def uplinks(policy: Policy, root: Path = Path("/")) -> Iterator[UplinkUsage]:
    for name in sorted(policy.uplinks):
        folder = root / "sys/class/net" / name
        carrier = {"1": "up", "0": "down"}.get(_text(folder / "carrier").strip(), "")
        yield UplinkUsage(
            name=name,
            there=folder.exists(),
            carrier=carrier or ("down" if _text(folder / "operstate").strip() == "down" else ""),
            received=_number(_text(folder / "statistics/rx_bytes")),
            sent=_number(_text(folder / "statistics/tx_bytes")),
        )


def _datasets(policy: Policy, root: Path) -> Iterator[tuple[str, Moved]]:
    folder = root / "proc/spl/kstat/zfs" / policy.dataset.partition("/")[0]
    for path in folder.glob("objset-*"):
        found = common.parse_dataset_kstat(_text(path))
        if found is not None:
            yield found


def parse_cpu(stat: str) -> tuple[int, int]:
    """How many CPUs there are, and how many ticks they worked, from /proc/stat. A guest's time is in user's too."""
    lines = [line.split() for line in stat.splitlines() if line.startswith("cpu")]
    busy = 0
    for name, *columns in lines:
        if name == "cpu":
            busy = sum(int(value) for at, value in enumerate(columns[:8]) if at not in _IDLE)
    return len(lines) - 1 if lines else 0, busy


def parse_boot(stat: str) -> int:
    words = [line.split() for line in stat.splitlines() if line.startswith("btime ")]
    return _number(words[0][1]) if words else 0


def parse_memory(meminfo: str) -> dict[str, int]:
    """Bytes by key, from /proc/meminfo."""
    found = {}
    for line in meminfo.splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdecimal():
            found[key] = int(words[0]) << (10 if words[1:] == ["kB"] else 0)
    return found


def parse_arc(arcstats: str) -> int:
    for line in arcstats.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "size":
            return _number(words[2])
    return 0


def parse_ticks(stat: str) -> int:
    """CPU ticks of a process and all its threads, from /proc/PID/stat; its name may hold blanks and parentheses."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) if len(fields) > 12 else 0


def parse_pages(statm: str) -> int:
    fields = statm.split()
    return int(fields[1]) if len(fields) > 1 else 0


def parse_io(text: str) -> Moved:
    values = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    return Moved(_number(values.get("read_bytes", "")), _number(values.get("write_bytes", "")))


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 0


def _text(path: Path) -> str:
    """ "" when it is not there: a process that ended, a kernel without it."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


HANDLERS: dict[type, Handler] = {ReadUsage: read}
