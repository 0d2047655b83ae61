"""ReadInventory on Linux: files of /proc and /sys, zpool(8) where there is one, smartctl(8) for each disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .. import inventory as common
from ..handlers import Context, Handler
from ..inventory import number, plain
from ..vocabulary.inventory import CpuReading, DriveReading, InventoryReading, NicReading, ReadInventory

_SECTOR = 512
_VIRTUAL = ("loop", "ram", "zram", "dm-", "md", "zd", "nbd", "sr", "fd")
REBOOT = "run/reboot-required"


def read(context: Context, request: ReadInventory) -> InventoryReading:
    return gather(common.text_of)


def gather(ask: Callable[[Sequence[str]], str], root: Path = Path("/")) -> InventoryReading:
    """ask: what a tool says. root: where /proc and /sys are."""
    drives, why_not = common.with_smart(tuple(_drives(root / "sys/block")), ask)
    due = "the system asks for it (/run/reboot-required)" if (root / REBOOT).exists() else ""
    identity = root / "sys/class/dmi/id"
    return InventoryReading(
        machine=plain(f"{_text(identity / 'sys_vendor')} {_text(identity / 'product_name')}"),
        memory=_memory(_text(root / "proc/meminfo")),
        kernel=plain(_text(root / "proc/sys/kernel/osrelease")),
        reboot=due,
        smart=why_not,
        cpu=parse_cpus(_text(root / "proc/cpuinfo")),
        nics=tuple(_nics(root / "sys/class/net")),
        drives=drives,
        pools=common.pools(ask(common.POOLS), ask(["zpool", "status"])),
    )


def parse_cpus(text: str) -> CpuReading:
    """From /proc/cpuinfo, a block for each thread. Without topology every thread counts as a core."""
    blocks = [_fields(block) for block in text.split("\n\n") if block.strip()]
    threads = [block for block in blocks if "processor" in block]
    cores = {(block.get("physical id", "0"), block.get("core id", block["processor"])) for block in threads}
    model = next((block["model name"] for block in threads if "model name" in block), "")
    return CpuReading(model=plain(model), cores=len(cores), threads=len(threads))


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _memory(text: str) -> int:
    return number(_fields(text).get("MemTotal", "0").split(" ")[0]) << 10


def _drives(folder: Path) -> Iterator[DriveReading]:
    for disk in sorted(folder.iterdir()) if folder.is_dir() else ():
        size = number(_text(disk / "size")) * _SECTOR
        if disk.name.startswith(_VIRTUAL) or not size:
            continue
        serial = _text(disk / "device/serial") or _text(disk / "serial")
        yield DriveReading(name=disk.name, size=size, model=plain(_text(disk / "device/model")), serial=plain(serial))


def _nics(folder: Path) -> Iterator[NicReading]:
    """Interfaces with a device behind them."""
    for nic in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not (nic / "device").exists():
            continue
        driver, speed = nic / "device/driver", number(_text(nic / "speed"))
        yield NicReading(
            name=nic.name,
            mac=plain(_text(nic / "address")),
            driver=plain(driver.resolve().name) if driver.exists() else "",
            speed=f"{speed} Mbit/s" if speed else "",
            up=_text(nic / "operstate") == "up",
        )


def _text(path: Path) -> str:
    """What a file says; "" when it is not there, or its device does not answer (a NIC that is down has no speed)."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


HANDLERS: dict[type, Handler] = {ReadInventory: read}
LONG: frozenset[type] = frozenset({ReadInventory})
"""Disks take their time to answer."""
