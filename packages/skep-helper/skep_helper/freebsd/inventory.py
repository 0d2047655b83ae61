"""ReadInventory on FreeBSD: a constant number of processes, and one for each disk that has SMART. Parsers are pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .. import inventory as common
from ..handlers import Context, Handler
from ..inventory import number, plain
from ..vocabulary.inventory import (
    CpuReading,
    DriveReading,
    EnvironmentReading,
    InventoryReading,
    NicReading,
    ReadInventory,
)

_SYSCTLS = ("hw.model", "hw.physmem", "hw.ncpu", "kern.smp.cores")
_SYSTEM = ("smbios.system.maker", "smbios.system.product")
_HEAD = re.compile(r"^(\S+?): flags=[0-9a-f]+<([^>]*)>")
_DRIVER = re.compile(r"^([a-z_]+?)([0-9]+)$")
_PCI = re.compile(r"^(\S+?)@pci[0-9:]+:")
_MADE_UP = ("lo", "bridge", "tap", "vlan", "epair", "vxlan", "gif", "wg", "pflog", "pfsync", "enc", "ipfw")


def read(context: Context, request: ReadInventory) -> InventoryReading:
    return gather(common.text_of)


def gather(ask: Callable[[Sequence[str]], str]) -> InventoryReading:
    """ask: what a tool says."""
    values = dict(line.split("=", 1) for line in ask(["sysctl", "-ie", *_SYSCTLS]).splitlines() if "=" in line)
    versions = ask(["freebsd-version", "-kr"]).split()
    drives, why_not = common.with_smart(parse_drives(ask(["geom", "disk", "list"])), ask)
    threads = number(values.get("hw.ncpu", 0))
    cores = number(values.get("kern.smp.cores", threads))
    return InventoryReading(
        machine=parse_machine(ask(["kenv"])),
        memory=number(values.get("hw.physmem", 0)),
        kernel=plain(versions[-1]) if versions else "",
        reboot=due(versions),
        smart=why_not,
        cpu=CpuReading(model=plain(values.get("hw.model", "")), cores=cores, threads=threads),
        nics=parse_nics(ask(["ifconfig", "-a"]), ask(["pciconf", "-lv"])),
        drives=drives,
        pools=common.pools(ask(common.POOLS), ask(["zpool", "status"])),
        environments=parse_environments(ask(["bectl", "list", "-H"])),
    )


def due(versions: Sequence[str]) -> str:
    """Why a boot is due, from `freebsd-version -kr`: the kernel that is installed, and the one that runs."""
    if len(versions) != 2 or versions[0] == versions[1]:
        return ""
    return plain(f"the kernel {versions[0]} is installed, and {versions[1]} runs")


def parse_machine(kenv: str) -> str:
    """Maker and product from kenv(1), which has them when the firmware has SMBIOS."""
    values = dict(re.findall(r'^(\S+?)="(.*)"$', kenv, re.MULTILINE))
    return plain(" ".join(values[name] for name in _SYSTEM if name in values))


def parse_drives(listing: str) -> tuple[DriveReading, ...]:
    """From `geom disk list`. Volumes of ZFS are not in it; CD drives without a medium are left out."""
    found = []
    for part in re.split(r"^Geom name: ", listing, flags=re.MULTILINE)[1:]:
        values = dict(re.findall(r"^ +([a-z]+|Mediasize): (.*)$", part, re.MULTILINE))
        size = number(values.get("Mediasize", "0").split(" ")[0])
        if size:
            found.append(
                DriveReading(
                    name=part.split("\n", 1)[0].strip(), size=size, model=_told(values.get("descr", "")),
                    serial=_told(values.get("ident", "")), rotation=number(values.get("rotationrate", 0)),
                )
            )  # fmt: skip
    return tuple(found)


def _told(value: str) -> str:
    return "" if value in ("(null)", "unknown") else plain(value)


def parse_nics(interfaces: str, devices: str) -> tuple[NicReading, ...]:
    """From `ifconfig -a` and `pciconf -lv`: interfaces of hardware, those that can be made are left out."""
    descriptions = parse_devices(devices)
    found: list[NicReading] = []
    for part in re.split(r"^(?=\S)", interfaces, flags=re.MULTILINE):
        head, mac = _HEAD.match(part), re.search(r"^\tether (\S+)", part, re.MULTILINE)
        if not head or not mac or _is_made(head[1], part):
            continue
        media = re.search(r"^\tmedia: \S+ \S+(?: \((.*)\))?$", part, re.MULTILINE)
        driver = _DRIVER.match(head[1])
        found.append(
            NicReading(
                name=head[1], mac=mac[1], driver=plain(driver[1]) if driver else "", up="UP" in head[2].split(","),
                description=descriptions.get(head[1], ""), speed=plain(media[1] or "") if media else "",
            )
        )  # fmt: skip
    return tuple(found)


def _is_made(name: str, part: str) -> bool:
    groups = re.search(r"^\tgroups: (.*)$", part, re.MULTILINE)
    kinds = {*(groups[1].split() if groups else ()), re.sub(r"[0-9.]+$", "", name)}
    return bool(kinds & {*_MADE_UP})


def parse_devices(listing: str) -> dict[str, str]:
    """What each PCI device is, by the name of its driver's unit, from `pciconf -lv`."""
    found: dict[str, str] = {}
    name, vendor = "", ""
    for line in listing.splitlines():
        head = _PCI.match(line)
        if head:
            name, vendor = head[1], ""
        elif match := re.match(r"^ +(vendor|device) += '(.*)'$", line):
            if match[1] == "vendor":
                vendor = match[2]
            else:
                found[name] = plain(f"{vendor} {match[2]}")
    return found


def parse_environments(listing: str) -> tuple[EnvironmentReading, ...]:
    """From `bectl list -H`: name, flags (N now, R at the next boot), mount point, space, creation."""
    rows = [line.split("	") for line in listing.splitlines() if "	" in line]
    return tuple(EnvironmentReading(name=plain(row[0]), running="N" in row[1], next="R" in row[1]) for row in rows)


HANDLERS: dict[type, Handler] = {ReadInventory: read}
LONG: frozenset[type] = frozenset({ReadInventory})
"""Disks take their time to answer."""
