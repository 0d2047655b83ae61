"""A guest of vm-bhyve as its configuration describes it: typed, with nothing of Skep's yet.

Keys and their defaults as in lib/vm-run and sample-templates/config.sample of vm-bhyve 1.7.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .conf import Conf

ZVOL_NAMES = ("zvol", "sparse-zvol")
DEFAULT_SLOT = 4
_MEMORY = re.compile(r"([0-9]{1,15})([kmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True, kw_only=True)
class VmDisk:
    """number: as in diskN_. kind: file, zvol, custom, iscsi, or a word that vm-bhyve takes for file. sparse: whether it
    was made without its space being reserved."""

    number: int
    type: str
    name: str
    kind: str
    sparse: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VmCard:
    """switch "": connected to nothing. mac "": vm-bhyve makes one up at the next start. device: a tap of the user's."""

    number: int
    type: str
    switch: str = ""
    mac: str = ""
    device: str = ""
    span: bool = False


@dataclass(frozen=True, kw_only=True)
class VmDevice:
    """A passed-through device: BUS/SLOT/FUNCTION of the host, where it is to be in the guest, its further options."""

    number: int
    host: str
    place: str = ""
    options: str = ""


@dataclass(frozen=True, kw_only=True)
class VmGuest:
    """memory in bytes, 0 when it cannot be read. sockets, cores, threads: 0 when not said."""

    loader: str
    cpus: int
    sockets: int = 0
    cores: int = 0
    threads: int = 0
    memory: int
    disks: tuple[VmDisk, ...] = ()
    cards: tuple[VmCard, ...] = ()
    devices: tuple[VmDevice, ...] = ()
    graphics: bool = False
    uefi_vars: bool = False
    utc: bool = True
    consoles: tuple[str, ...] = ()
    start_slot: int = DEFAULT_SLOT
    ahci_limit: int = 1


def read_guest(conf: Conf) -> VmGuest:
    return VmGuest(
        loader=conf.get("loader"),
        cpus=number(conf.get("cpu")),
        sockets=number(conf.get("cpu_sockets")),
        cores=number(conf.get("cpu_cores")),
        threads=number(conf.get("cpu_threads")),
        memory=memory(conf.get("memory")),
        disks=tuple(_disk(conf, item) for item in range(_disks(conf))),
        cards=tuple(_card(conf, item) for item in range(conf.numbered("network", "_type"))),
        devices=tuple(_device(conf, item) for item in range(conf.numbered("passthru"))),
        graphics=conf.yes("graphics"),
        uefi_vars=conf.yes("uefi_vars"),
        utc=conf.yes("utctime", default=True),
        consoles=tuple(conf.get(f"virt_console{item}") for item in range(conf.numbered("virt_console"))),
        start_slot=number(conf.get("start_slot", str(DEFAULT_SLOT))),
        ahci_limit=_limit(number(conf.get("ahci_device_limit"))),
    )


def number(text: str) -> int:
    """0 for what is no number."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else 0


def memory(text: str) -> int:
    """Bytes as bhyve's -m understands them: a small number without unit is MiB. 0 for what it refuses."""
    match = _MEMORY.fullmatch(text)
    if match is None:
        return 0
    size = int(match[1]) * _UNITS[match[2].lower()]
    return size << 20 if not match[2] and size < 1 << 20 else size


def _disks(conf: Conf) -> int:
    """vm-bhyve stops at the first number that lacks its type or its name."""
    return min(conf.numbered("disk", "_type"), conf.numbered("disk", "_name"))


def _disk(conf: Conf, item: int) -> VmDisk:
    kind = conf.get(f"disk{item}_dev", "file")
    return VmDisk(
        number=item,
        type=conf.get(f"disk{item}_type"),
        name=conf.get(f"disk{item}_name"),
        kind="zvol" if kind in ZVOL_NAMES else kind,
        sparse=kind == "sparse-zvol",
        options=tuple(part for part in conf.get(f"disk{item}_opts").split(",") if part),
    )


def _card(conf: Conf, item: int) -> VmCard:
    return VmCard(
        number=item,
        type=conf.get(f"network{item}_type"),
        switch=conf.get(f"network{item}_switch"),
        mac=conf.get(f"network{item}_mac").lower(),
        device=conf.get(f"network{item}_device"),
        span=conf.yes(f"network{item}_span"),
    )


def _device(conf: Conf, item: int) -> VmDevice:
    host, _, place = conf.get(f"passthru{item}").partition("=")
    return VmDevice(number=item, host=host, place=place, options=conf.get(f"passthru{item}_options"))


def _limit(given: int) -> int:
    return given if 1 < given <= 32 else 1
