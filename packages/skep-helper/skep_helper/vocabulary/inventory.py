"""What a host is made of. Requests and readings; nothing here changes anything."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Amount, Celsius, Checked, Count, Percent, ShortText, SystemName


@dataclass(frozen=True, kw_only=True)
class ReadInventory(Checked):
    """Everything about the machine, in bulk. Answer: InventoryReading. Disks that sleep are not woken."""


@dataclass(frozen=True, kw_only=True)
class CpuReading(Checked):
    """cores: of all processors together; threads: that the kernel runs on."""

    model: ShortText = ""
    cores: Amount = 0
    threads: Amount = 0


@dataclass(frozen=True, kw_only=True)
class NicReading(Checked):
    """speed: as the system says it, e.g. "1000baseT <full-duplex>"."""

    name: SystemName
    mac: ShortText = ""
    driver: ShortText = ""
    description: ShortText = ""
    speed: ShortText = ""
    up: bool = False


@dataclass(frozen=True, kw_only=True)
class SmartReading(Checked):
    """health: passed, failed, or unknown, and then why. worn: percent of the life of flash, -1 when it is not told.
    bad: sectors or blocks that could not be read or were replaced. temperature in degrees, 0 when it is not told."""

    health: ShortText
    reason: ShortText = ""
    worn: Percent = -1
    bad: Amount = 0
    hours: Amount = 0
    temperature: Celsius = 0


@dataclass(frozen=True, kw_only=True)
class DriveReading(Checked):
    """A disk of the host. size in bytes. rotation: per minute, 0 for none or unknown."""

    name: SystemName
    size: Amount = 0
    model: ShortText = ""
    serial: ShortText = ""
    rotation: Amount = 0
    smart: SmartReading | None = None


@dataclass(frozen=True, kw_only=True)
class PoolReading(Checked):
    """A pool of OpenZFS. health: ONLINE, DEGRADED, ... problem: what `zpool status` says is wrong. scan: the last
    scrub or resilvering."""

    name: ShortText
    size: Amount = 0
    allocated: Amount = 0
    fragmentation: Count = 0
    health: ShortText = ""
    problem: ShortText = ""
    scan: ShortText = ""


@dataclass(frozen=True, kw_only=True)
class EnvironmentReading(Checked):
    """A boot environment. running: of this boot; next: of the next one."""

    name: ShortText
    running: bool = False
    next: bool = False


@dataclass(frozen=True, kw_only=True)
class InventoryReading(Checked):
    """kernel: that runs. reboot: why a boot is due, empty when none is. smart: why no disk was asked for its health,
    empty when they were."""

    machine: ShortText = ""
    memory: Amount = 0
    kernel: ShortText = ""
    reboot: ShortText = ""
    smart: ShortText = ""
    cpu: CpuReading = CpuReading()
    nics: tuple[NicReading, ...] = ()
    drives: tuple[DriveReading, ...] = ()
    pools: tuple[PoolReading, ...] = ()
    environments: tuple[EnvironmentReading, ...] = ()
