"""A guest of vm-bhyve as a guest of Skep, with its ports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from skep_helper.vocabulary import VmBhyveGuest

from skepd.model.names import Manager
from skepd.model.objects import Boot, Cpus, Guest, Nic, Port

from . import keys
from .conf import Conf, read
from .disks import Taken, convert_disks
from .findings import Finding, sorted_findings
from .networks import slug
from .vm_bhyve import VmCard, VmDevice, VmGuest, read_guest

UEFI = "uefi"
_NIC_MODELS = {"virtio-net": "virtio", "e1000": "e1000"}
_DEVICE = re.compile(r"([0-9]{1,3})/([0-9]{1,2})/([0-7])")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_AGENT = "org.qemu.guest_agent.0"
_LEAST_MEMORY = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the caller decides. profile None: guessed. networks: of Skep, by switch. autostart: vm_list of rc.conf."""

    profile: str | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    autostart: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Converted:
    """source: its name in vm-bhyve. guest None: refused. disks: datasets by disk name. variables: whether it has UEFI
    variables to bring along. switches: those its cards are on and that no network of Skep was named for."""

    source: str
    name: str
    guest: Guest | None
    ports: tuple[Port, ...] = ()
    disks: Mapping[str, str] = field(default_factory=dict)
    variables: bool = False
    switches: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def convert(there: VmBhyveGuest, choices: Choices) -> Converted:
    """Never fails: what stands against taking the guest over is among the findings."""
    conf = _conf(there)
    found = read_guest(conf)
    name = slug(there.name)
    findings = [*_name(there, name, conf), *_state(there, conf), *_loader(found, conf), *keys.lost(conf)]
    disks = _split(convert_disks(found.disks, there, conf), findings)
    if not disks and not any(item.refuses for item in findings):
        findings.append(Finding(conf.file, "there is no disk to take over", refuses=True))
    names = [taken.disk.name for taken in disks]
    if len(set(names)) < len(names):
        findings.append(Finding(conf.file, f"disks would have one name: {', '.join(names)}", refuses=True))
    cpus = _cpus(found, conf, findings)
    memory = _memory(found, conf, findings)
    cards = _cards(found.cards, conf, findings)
    passthrough = tuple(text for device in found.devices for text in _passthrough(device, conf, findings))
    findings += _consoles(found, conf)
    findings += _moved(found, conf)
    ports = tuple(_port(name, number, card, choices, conf, findings) for number, card in enumerate(cards))
    guest = Guest(
        name=name or "none", manager=Manager.USER, profile=choices.profile or _profile(found), cpus=cpus,
        memory=memory, disks=tuple(replace(taken.disk, slot=slot) for slot, taken in enumerate(disks)),
        nics=tuple(
            Nic(port=port.name, model=_NIC_MODELS[card.type], slot=len(disks) + number)
            for number, (port, card) in enumerate(zip(ports, cards, strict=True))
        ),
        boot=_boot(there, choices), power="off", autostart=there.name in choices.autostart, screen=found.graphics,
        local_clock=not found.utc, passthrough=passthrough,
    )  # fmt: skip
    refused = any(item.refuses for item in findings)
    return Converted(
        source=there.name, name=name, guest=None if refused else guest, ports=ports,
        disks={taken.disk.name: taken.dataset for taken in disks}, variables=found.uefi_vars and there.variables,
        switches=tuple(dict.fromkeys(card.switch for card in cards if card.switch not in choices.networks)),
        findings=sorted_findings(findings),
    )  # fmt: skip


def _conf(there: VmBhyveGuest) -> Conf:
    return read(there.text, f"{there.folder}/{there.name}.conf")


def _split(items: Iterator[Taken | Finding], findings: list[Finding]) -> list[Taken]:
    taken = []
    for item in items:
        if isinstance(item, Taken):
            taken.append(item)
        else:
            findings.append(item)
    return taken


def _name(there: VmBhyveGuest, name: str, conf: Conf) -> Iterator[Finding]:
    if not name:
        yield Finding(conf.file, f"no name for Skep can be made of {there.name!r}: rename the guest", refuses=True)
    elif name != there.name:
        yield Finding(conf.file, f"the guest is called {name} in Skep, whose names are a-z, 0-9 and '-'")


def _state(there: VmBhyveGuest, conf: Conf) -> Iterator[Finding]:
    if there.busy:
        text = f"guest {there.name} runs ({there.busy}): vm stop {there.name}, then adopt it"
        yield Finding(conf.file, text, refuses=True)
    if there.suspended:
        text = f"guest {there.name} is suspended, and Skep cannot resume it: start it and shut it down, then adopt it"
        yield Finding(conf.file, text, refuses=True)


def _loader(found: VmGuest, conf: Conf) -> Iterator[Finding]:
    place = conf.place("loader")
    if found.loader == UEFI:
        return
    if found.loader in ("uefi-devel", "uefi-custom"):
        yield Finding(place, f"loader={found.loader} is not kept: Skep uses the firmware of the package edk2-bhyve")
        return
    way = {
        "bhyveload": "give it an EFI system partition with FreeBSD's loader.efi (uefi(8), gpart(8))",
        "grub": "install its system's UEFI boot loader (e.g. grub-efi) in an EFI system partition",
        "uefi-csm": "make its system boot by UEFI instead of BIOS",
    }.get(found.loader)
    if way is None:
        text = f"loader={found.loader!r:.40} is none that vm-bhyve knows" if found.loader else "loader is missing"
        yield Finding(place, f"{text}: guests that start by UEFI can be taken over (loader=uefi)", refuses=True)
        return
    text = f"loader={found.loader}: Skep's guests start by UEFI; {way}, set loader=uefi, see that it starts under"
    yield Finding(place, f"{text} vm-bhyve, then adopt it", refuses=True)


def _cpus(found: VmGuest, conf: Conf, findings: list[Finding]) -> Cpus:
    """vm-bhyve's plain `cpu` is that many sockets, as bhyve has it; the guest keeps seeing them."""
    cores, threads = found.cores or 1, found.threads or 1
    cpus = Cpus(sockets=found.sockets or found.cpus or 1, cores=cores, threads=threads)
    if not found.cpus:
        findings.append(Finding(conf.place("cpu"), "cpu is missing or no number", refuses=True))
    elif cpus.total != found.cpus:
        text = f"{cpus.sockets} sockets of {cores} cores of {threads} threads are not the {found.cpus} CPUs of cpu="
        findings.append(Finding(conf.place("cpu"), f"{text}: bhyve would not start this guest", refuses=True))
    return cpus


def _memory(found: VmGuest, conf: Conf, findings: list[Finding]) -> int:
    whole = found.memory >> 20 << 20
    if whole < _LEAST_MEMORY:
        text = f"memory={conf.get('memory')!r:.40} is missing, no size, or too little"
        findings.append(Finding(conf.place("memory"), text, refuses=True))
    elif whole != found.memory:
        findings.append(Finding(conf.place("memory"), f"the guest gets whole MiB of memory: {whole >> 20}"))
    return whole


def _cards(cards: tuple[VmCard, ...], conf: Conf, findings: list[Finding]) -> tuple[VmCard, ...]:
    kept = []
    for card in cards:
        place, label = conf.place(f"network{card.number}_type"), f"network card {card.number}"
        problem = ""
        if card.type not in _NIC_MODELS:
            problem = f"{label} is a device {card.type!r:.40}: Skep has {', '.join(_NIC_MODELS)}"
        elif card.span:
            problem = f"{label} sees all frames of its switch (span), which Skep's networks do not do"
        elif not card.switch:
            what = f"the interface {card.device} of your own" if card.device else "no switch"
            problem = f"{label} is connected to {what}, and Skep's cards are on networks: give it a switch"
        elif card.mac and (not _MAC.fullmatch(card.mac) or int(card.mac[1], 16) & 1):
            problem = f"{label} has no usable MAC address ({card.mac!r:.40})"
        if problem:
            findings.append(Finding(place, f"{problem}, or take it out", refuses=True))
            continue
        if card.device:
            place = conf.place(f"network{card.number}_device")
            findings.append(Finding(place, f"{label} gets an interface of Skep instead of {card.device}"))
        kept.append(card)
    return tuple(kept)


def _port(name: str, number: int, card: VmCard, choices: Choices, conf: Conf, findings: list[Finding]) -> Port:
    network = choices.networks.get(card.switch) or slug(card.switch)
    if not card.mac:
        text = f"network card {card.number} never had a MAC address; it gets one of Skep"
        findings.append(Finding(conf.place(f"network{card.number}_type"), text))
    return Port(name=f"{name}.{number}", manager=Manager.USER, network=network, guest=name, mac=card.mac or None)


def _passthrough(device: VmDevice, conf: Conf, findings: list[Finding]) -> Iterator[str]:
    place = conf.place(f"passthru{device.number}")
    match = _DEVICE.fullmatch(device.host)
    if match is None:
        text = f"passthru{device.number}={device.host!r:.40} is no BUS/SLOT/FUNCTION"
        findings.append(Finding(place, text, refuses=True))
        return
    bus, slot, function = (int(part) for part in match.groups())
    if device.place or device.options:
        given = " ".join(part for part in (device.place, device.options) if part)
        text = f"the place and options of passthru{device.number} ({given:.60}) are not carried over"
        findings.append(Finding(place, text))
    yield f"0000:{bus:02x}:{slot:02x}.{function}"


def _consoles(found: VmGuest, conf: Conf) -> Iterator[Finding]:
    for number, console in enumerate(found.consoles):
        if console != _AGENT:
            text = f"the console {console!r:.60} is not carried over; guests of Skep have {_AGENT}"
            yield Finding(conf.place(f"virt_console{number}"), text)


def _moved(found: VmGuest, conf: Conf) -> Iterator[Finding]:
    """Devices that the guest finds at another place on its PCI bus than before: Linux names its cards after that."""
    shared = found.ahci_limit > 1 and sum(disk.type.startswith("ahci") for disk in found.disks) > 1
    gone = any(disk.type == "ahci-cd" for disk in found.disks)
    if found.start_slot != 4 or shared or gone:
        key = "start_slot" if found.start_slot != 4 else "ahci_device_limit" if shared else "disk0_name"
        text = "disks and network cards are at other places on the PCI bus than before"
        yield Finding(conf.place(key), f"{text}: a system that names cards after these finds them under new names")
    elif len(found.cards) > 1:
        text = "network cards from the second on are at other places on the PCI bus than before"
        yield Finding(conf.place("network1_type"), f"{text}: Linux gives them new names")


def _profile(found: VmGuest) -> str:
    """vm-bhyve does not say; Windows alone wants local time."""
    return "linux" if found.utc else "windows"


def _boot(there: VmBhyveGuest, choices: Choices) -> Boot:
    """In the order of vm_list, after guests that say a number below 100 themselves."""
    if there.name not in choices.autostart:
        return Boot()
    return Boot(order=100 + choices.autostart.index(there.name))
