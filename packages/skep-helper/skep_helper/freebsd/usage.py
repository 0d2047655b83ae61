"""ReadUsage on FreeBSD: one sysctl(8), one call into the kernel for each VMM, one fork into each network's jail.

A guest's disk bytes are those of its volumes' datasets (kstat): bhyve's own ru_inblock and ru_oublock count operations,
and not what ZFS does for them. Its memory is what bhyve itself has mapped in: pages that only the guest touched are not
in it, because the kernel keeps them in an address space of the VM's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .. import usage as common
from ..guard.protocol import GuardError
from ..handlers import Context, Failure, Handler
from ..inventory import plain, text_of
from ..policy import Policy
from ..usage import Moved
from ..vocabulary.usage import GuestUsage, HostUsage, PortUsage, ReadUsage, UplinkUsage, UsageReading
from .bhyve import process
from .network import names
from .network.records import NetworkRecord, Records
from .network.system import Counters, System

_VALUES = (
    "hw.ncpu", "hw.physmem", "hw.pagesize", "kern.boottime", "kern.cp_time", "kern.clockrate",
    "vm.stats.vm.v_free_count", "vm.stats.vm.v_inactive_count", "kstat.zfs.misc.arcstats.size",
)  # fmt: skip
_IDLE = 4
"""Column of kern.cp_time: user, nice, system, interrupts, idle."""
_SECOND = 1_000_000
Ask = Callable[[Sequence[str]], str]


def read(context: Context, request: ReadUsage) -> UsageReading:
    return gather(context.policy, text_of, System())


def gather(policy: Policy, ask: Ask, system: System) -> UsageReading:
    """ask: what a tool says."""
    values = parse_values(ask(["sysctl", "-ie", *_VALUES, *_dataset_values(policy)]))
    missing: list[str] = []
    return UsageReading(
        host=host(values),
        guests=tuple(guests(policy, values)),
        ports=tuple(ports(policy, system, missing)),
        uplinks=tuple(uplinks(policy, system.counters())),
        trouble=plain(", ".join(missing)),
    )


def _dataset_values(policy: Policy) -> list[str]:
    pool = policy.dataset.partition("/")[0]
    return [f"kstat.zfs.{pool}.dataset"] if pool else []


def parse_values(text: str) -> dict[str, str]:
    """From `sysctl -e`: a line NAME=VALUE each."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def host(values: dict[str, str]) -> HostUsage:
    ticks = [_number(word) for word in values.get("kern.cp_time", "").split()]
    busy = sum(ticks) - (ticks[_IDLE] if len(ticks) > _IDLE else 0)
    page = _number(values.get("hw.pagesize", ""))
    free = (_number(values.get(f"vm.stats.vm.v_{kind}_count", "")) for kind in ("free", "inactive"))
    return HostUsage(
        booted=parse_boot(values.get("kern.boottime", "")),
        cpus=_number(values.get("hw.ncpu", "")),
        cpu=busy * _SECOND // parse_statistics_rate(values.get("kern.clockrate", "")),
        memory=_number(values.get("hw.physmem", "")),
        free=sum(free) * page,
        arc=_number(values.get("kstat.zfs.misc.arcstats.size", "")),
        clock=common.clock("ntp_adjtime"),
    )


def parse_boot(boottime: str) -> int:
    """Seconds since 1970, from kern.boottime: "{ sec = 1600000000, usec = 5 } Sun Sep 13 ..."."""
    words = boottime.replace(",", " ").split()
    return _number(words[words.index("sec") + 2]) if "sec" in words[:-2] else 0


def parse_statistics_rate(clockrate: str) -> int:
    """How many times a second the kernel looks who works, from kern.clockrate: "{ hz = 100, ..., stathz = 127 }"."""
    words = clockrate.replace(",", " ").replace("}", " ").split()
    return _number(words[words.index("stathz") + 2]) or 128 if "stathz" in words[:-2] else 128


def guests(policy: Policy, values: dict[str, str]) -> Iterator[GuestUsage]:
    moved = common.by_guest(f"{policy.dataset}/guests", common.parse_dataset_sysctls(values))
    for name, pid in common.running(policy):
        try:
            used = process.used(pid)
        except GuardError:
            continue  # the kernel does not tell of it now; its guard says what is wrong with it
        disks = moved.get(name, Moved())
        if used is not None:
            yield GuestUsage(
                name=name, cpu=used.cpu, memory=used.memory, disk_read=disks.read, disk_written=disks.written
            )


def ports(policy: Policy, system: System, missing: list[str]) -> Iterator[PortUsage]:
    """missing: told of networks that cannot be asked."""
    records = Records(policy)
    counters = {record.spec.name: _counters(system, record, missing) for record in records.networks()}
    for port in records.ports():
        there = counters.get(port.spec.network, {}).get(port.interface)
        if there is not None:
            # What a tap received is what its guest sent.
            yield PortUsage(name=port.spec.name, received=there[1], sent=there[0])


def _counters(system: System, record: NetworkRecord, missing: list[str]) -> dict[str, list[int]]:
    """[received, sent] by interface; empty when its jail is not there."""
    try:
        if record.jid and system.jail_id(names.network_jail(record.spec.name)) == record.jid:
            found: dict[str, list[int]] = system.enter(record.jid, system.counters)
            return found
    except (OSError, Failure) as error:
        missing.append(f"network {record.spec.name}: {error}")
    return {}


def uplinks(policy: Policy, counters: dict[str, Counters]) -> Iterator[UplinkUsage]:
    for name in sorted(policy.uplinks):
        received, sent, link = counters.get(name, Counters(0, 0, 0))
        carrier = {1: "down", 2: "up"}.get(link, "")
        yield UplinkUsage(name=name, there=name in counters, carrier=carrier, received=received, sent=sent)


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 0


HANDLERS: dict[type, Handler] = {ReadUsage: read}
LONG: frozenset[type] = frozenset({ReadUsage})
"""A jail, or a call into the kernel about an interface, can hang: that must not hold up others."""
