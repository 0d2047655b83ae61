"""QEMU's command line, rendered from a guest's typed description: pure functions, nothing is opened here.

All files are descriptors that the guard passes; options with free text are JSON, where a comma is no syntax. Every
option here is known to QEMU 7.2 to 10.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...vocabulary.fields import Rejected
from ...vocabulary.guest import DiskDevice, GuestSpec, MediaDevice, NicDevice
from . import slots

MIB = 1 << 20
LINE = "line"
"""The serial pipes line.in and line.out, in QEMU's working folder."""
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
_DISK_MODELS = {"virtio": "virtio-blk-pci", "nvme": "nvme", "ahci": "ide-hd"}
_NIC_MODELS = {"virtio": "virtio-net-pci", "e1000": "e1000"}


@dataclass(frozen=True)
class Source:
    """A disk or medium: its format, and that of the image beneath a linked clone; or a block device, which is raw."""

    format: str
    base: str | None = None
    device: bool = False


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the command line needs besides the guest's description.

    disks, media: by disk name and by slot; a medium that was detached is missing in media. numbers: the descriptor of
    each key of ``keys``.
    """

    qemu: str
    accelerator: str
    disks: Mapping[str, Source] = field(default_factory=dict)
    media: Mapping[int, Source] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)


def keys(spec: GuestSpec, disks: Mapping[str, Source], media: Mapping[int, Source]) -> list[str]:
    """What must be opened for a guest, in the order in which QEMU gets it."""
    found = ["qmp", "code", "vars"]
    for disk in spec.disks:
        found.append(f"disk:{disk.disk}")
        if disks[disk.disk].base:
            found.append(f"base:{disk.disk}")
    found += [f"media:{medium.slot}" for medium in spec.media if medium.slot in media]
    found += ["seed"] if spec.seed else []
    found += ["agent"] if spec.agent else []
    found += ["tpm"] if spec.tpm else []
    return found + [f"nic:{nic.port}" for nic in spec.nics]


def render(spec: GuestSpec, machine: Machine) -> list[str]:
    """The command line. Raises Rejected for a slot that there is not."""
    argv = [machine.qemu, "-name", f"guest={spec.name}", "-uuid", _uuid(spec.name)]
    argv += ["-nodefaults", "-no-user-config", "-display", "none", "-sandbox", SANDBOX]
    argv += ["-action", "reboot=reset,shutdown=pause,panic=pause"]
    argv += [*_board(spec, machine), *firmware(machine.numbers["code"], machine.numbers["vars"])]
    argv += ["-chardev", f"socket,id=qmp,fd={machine.numbers['qmp']},server=on,wait=off"]
    argv += ["-mon", "chardev=qmp,mode=control"]
    argv += ["-chardev", f"pipe,id=line,path={LINE}", "-serial", "chardev:line"]
    for device in _devices(spec, machine):
        argv += device
    return argv


def describe(argv: Sequence[str], paths: Mapping[int, str]) -> str:
    """The same command line with paths instead of descriptors, to be read, and to be run by hand as root."""
    words: list[str] = []
    for word in argv:
        if words and words[-1] == "-add-fd":
            words.pop()
            continue
        word = re.sub(r"/dev/fdset/(\d+)", lambda found: paths[int(found[1])], word)
        word = re.sub(r"^(socket,.*)fd=(\d+)", lambda found: f"{found[1]}path={paths[int(found[2])]}", word)
        word = re.sub(r"^(tap,.*)fd=(\d+)", lambda found: f"{found[1]}ifname={paths[int(found[2])]},script=no", word)
        words.append("stdio,id=line,signal=off" if word.startswith("pipe,id=line") else word)
    text = " ".join(shlex.quote(word) for word in words)
    return text.replace(" -", " \\\n    -") + "\n"


def used_slots(spec: GuestSpec) -> list[int]:
    """Of all devices that have one; raises Rejected when two have the same."""
    found = [*(disk.slot for disk in spec.disks), *(nic.slot for nic in spec.nics)]
    found += [medium.slot for medium in spec.media]
    for slot in found:
        if found.count(slot) > 1:
            raise Rejected(f"guest {spec.name}: two devices have slot {slot}")
    return found


def _uuid(name: str) -> str:
    """The same for the same name, so that an operating system's licence and cloud-init see the same machine."""
    text = hashlib.sha256(f"skep guest {name}".encode()).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-a{text[17:20]}-{text[20:32]}"


def _board(spec: GuestSpec, machine: Machine) -> list[str]:
    cpus = spec.cpus
    total = cpus.sockets * cpus.cores * cpus.threads
    options = f"q35,vmport=off,dump-guest-core=off,smm={'on' if spec.secure_boot else 'off'}"
    argv = ["-machine", f"{options},pflash0=code,pflash1=vars"]
    if machine.accelerator == "kvm":
        enlightened = ",hv-relaxed=on,hv-vapic=on,hv-spinlocks=0x1fff,hv-time=on" if spec.profile == "windows" else ""
        argv += ["-accel", "kvm", "-cpu", f"host{enlightened}"]
    else:
        # Five levels of page tables cost a software MMU a fifth of its speed and give a guest nothing.
        argv += ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,la57=off"]
    argv += ["-smp", f"cpus={total},sockets={cpus.sockets},cores={cpus.cores},threads={cpus.threads}"]
    argv += ["-m", f"{spec.memory // MIB}M"]
    return [*argv, "-rtc", f"base={'localtime' if spec.local_clock else 'utc'}"] + (
        ["-global", "driver=cfi.pflash01,property=secure,value=on"] if spec.secure_boot else []
    )


def firmware(code: int, variables: int) -> list[str]:
    """The block nodes of the flash that the board names: pflash0=code, pflash1=vars."""
    return [
        *_descriptor(code), *_blockdev({**_raw(code, read_only=True), "node-name": "code"}),
        *_descriptor(variables), *_blockdev({**_raw(variables), "node-name": "vars"}),
    ]  # fmt: skip


def _devices(spec: GuestSpec, machine: Machine) -> Iterator[list[str]]:
    yield from _root_ports(spec)
    for index, medium in enumerate(spec.media):
        yield _medium(medium, index + 1, machine)
    for index, disk in enumerate(spec.disks):
        yield _disk(disk, len(spec.media) + index + 1, machine)
    if spec.seed:
        yield _seed(spec, machine.numbers["seed"])
    for nic in spec.nics:
        yield _nic(nic, machine.numbers[f"nic:{nic.port}"])
    yield _device(driver="virtio-rng-pci", bus="pcie.0", addr=slots.RANDOM)
    if spec.agent:
        yield _agent(machine.numbers["agent"])
    if spec.tpm:
        yield _tpm(machine.numbers["tpm"])
    yield _screen() if spec.screen else ["-vga", "none"]
    for index, address in enumerate(spec.passthrough):
        yield _device(driver="vfio-pci", host=address, bus=f"pass-{index}", addr="0x0")


def _root_ports(spec: GuestSpec) -> Iterator[list[str]]:
    """Their chassis numbers follow from where they are, so that they stay too."""
    ports: dict[str, str] = {}
    for slot in used_slots(spec):
        ports.update(slots.place(slot).root_ports)
    for index in range(len(spec.passthrough)):
        ports[f"pass-{index}"] = f"{slots.PASSTHROUGH:#x}.{index}"
    for name, addr in sorted(ports.items()):
        device, function = (int(part, 16) for part in addr.split("."))
        yield _device(
            driver="pcie-root-port", id=name, bus="pcie.0", addr=addr, multifunction=True, chassis=8 * device + function
        )


def _disk(disk: DiskDevice, bootindex: int, machine: Machine) -> list[str]:
    source = machine.disks[disk.disk]
    name = f"disk-{disk.slot}"
    number = machine.numbers[f"disk:{disk.disk}"]
    argv = _descriptor(number)
    file = _file(number, device=source.device)
    block: dict[str, object] = {"driver": source.format, "node-name": name, "file": file}
    if disk.discard:
        block["discard"] = "unmap"
        block["file"] = {**file, "discard": "unmap"}
    if source.format == "qcow2":
        block["backing"] = None
    if source.base:
        base = machine.numbers[f"base:{disk.disk}"]
        argv += _descriptor(base)
        beneath: dict[str, object] = {"driver": source.base, "read-only": True, "file": _file(base, read_only=True)}
        block["backing"] = {**beneath, "backing": None} if source.base == "qcow2" else beneath
    argv += _blockdev(block)
    options = {"drive": name, "bootindex": bootindex, "serial": disk.serial or disk.disk[:20]}
    if disk.model == "ahci":
        return argv + _sata(disk.slot, _DISK_MODELS["ahci"], f"{name}-device", options)
    where = slots.place(disk.slot)
    return argv + _device(
        driver=_DISK_MODELS[disk.model], id=f"{name}-device", bus=where.bus, addr=where.addr, **options
    )


def _seed(spec: GuestSpec, number: int) -> list[str]:
    """A read-only virtio disk, because kernels made for clouds have no SATA driver; a CD where virtio needs one."""
    argv = [*_descriptor(number), *_blockdev({**_raw(number, read_only=True), "node-name": "seed"})]
    if spec.profile == "windows":
        return argv + _device(driver="ide-cd", id="seed", bus="ide.5", drive="seed")
    options = {"drive": "seed", "serial": "seed"}
    return argv + _device(driver="virtio-blk-pci", id="seed", bus="pcie.0", addr=slots.SEED, **options)


def _medium(medium: MediaDevice, bootindex: int, machine: Machine) -> list[str]:
    """A CD drive: it stays when its medium was detached, so that the guest's devices stay the same."""
    name = f"media-{medium.slot}"
    source = machine.media.get(medium.slot)
    if source is None:
        return _sata(medium.slot, "ide-cd", name, {})
    number = machine.numbers[f"media:{medium.slot}"]
    block: dict[str, object] = {"driver": source.format, "node-name": name, "read-only": True}
    block["file"] = _file(number, read_only=True, device=source.device)
    if source.format == "qcow2":
        block["backing"] = None
    options = {"drive": name, "bootindex": bootindex}
    return [*_descriptor(number), *_blockdev(block), *_sata(medium.slot, "ide-cd", name, options)]


def _sata(slot: int, driver: str, name: str, options: dict[str, object]) -> list[str]:
    if slot < slots.SATA_SLOTS:
        return _device(driver=driver, id=name, bus=f"ide.{slot}", **options)
    where = slots.place(slot)
    controller = _device(driver="ahci", id=f"sata-{slot}", bus=where.bus, addr=where.addr)
    return controller + _device(driver=driver, id=name, bus=f"sata-{slot}.0", **options)


def _nic(nic: NicDevice, number: int) -> list[str]:
    where = slots.place(nic.slot)
    # Without a boot ROM: OVMF drives virtio by itself, and guests boot from disks.
    device = _device(
        driver=_NIC_MODELS[nic.model], id=f"nic-{nic.slot}-device", netdev=f"nic-{nic.slot}", mac=nic.mac,
        bus=where.bus, addr=where.addr, romfile="",
    )  # fmt: skip
    return ["-netdev", f"tap,id=nic-{nic.slot},fd={number}", *device]


def _agent(number: int) -> list[str]:
    return [
        "-chardev", f"socket,id=agent,fd={number},server=on,wait=off",
        *_device(driver="virtio-serial-pci", id="serial", bus="pcie.0", addr=slots.AGENT),
        *_device(driver="virtserialport", bus="serial.0", chardev="agent", name="org.qemu.guest_agent.0"),
    ]  # fmt: skip


def _tpm(number: int) -> list[str]:
    return [
        "-chardev", f"socket,id=tpm,fd={number}", "-tpmdev", "emulator,id=tpm,chardev=tpm",
        *_device(driver="tpm-crb", tpmdev="tpm"),
    ]  # fmt: skip


def _screen() -> list[str]:
    """No socket listens: the guard hands QEMU one connection for each viewer."""
    return [
        "-vnc", "none,share=ignore", *_device(driver="VGA", bus="pcie.0", addr=slots.SCREEN),
        *_device(driver="qemu-xhci", id="usb", bus="pcie.0", addr=slots.USB),
        *_device(driver="usb-tablet", bus="usb.0"),
    ]  # fmt: skip


def _file(number: int, read_only: bool = False, device: bool = False) -> dict[str, object]:
    driver = "host_device" if device else "file"
    file: dict[str, object] = {"driver": driver, "filename": f"/dev/fdset/{number}"}
    return {**file, "read-only": True} if read_only else file


def _raw(number: int, read_only: bool = False) -> dict[str, object]:
    return {"driver": "raw", "read-only": read_only, "file": _file(number, read_only)}


def _descriptor(number: int) -> list[str]:
    return ["-add-fd", f"fd={number},set={number}"]


def _blockdev(block: dict[str, object]) -> list[str]:
    return ["-blockdev", json.dumps(block)]


def _device(**options: object) -> list[str]:
    return ["-device", json.dumps(options)]
