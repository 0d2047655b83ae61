"""bhyve's configuration, rendered from a guest's typed description: pure functions, nothing is opened here.

bhyve takes unknown variables, a directory as disk, one disk in two guests and any amount of memory without a word, so
nothing that is not written here goes into its configuration. Variables as in bhyve_config(5) of 13.2; those of later
releases are not used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...vocabulary.fields import Rejected
from ...vocabulary.guest import DiskDevice, GuestSpec, MediaDevice, NicDevice
from . import slots

MIB = 1 << 20
SCREEN_PORT = 5900
"""Where the screen is served, in the guest's own network stack."""
AGENT_PORT = "org.qemu.guest_agent.0"
PASSWORD_LENGTH = 8
"""VNC takes no more characters into account, so a longer one only looks stronger."""
_BLOCK_MODELS = {"virtio": "virtio-blk", "nvme": "nvme"}
_NIC_MODELS = {"virtio": "virtio-net", "e1000": "e1000"}
# What systems try to read of a processor is not always there; FreeBSD copes with the fault that it then gets.
_LENIENT = ("openbsd", "linux", "windows")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the configuration needs besides the guest's description.

    vm: the name of the VM, one for all of the host. paths: by key of ``keys``, as bhyve is to open them; a medium that
    was detached is missing. line: the device of the serial line. taps: device names by port. agent: the socket's path.
    """

    vm: str
    paths: Mapping[str, str]
    line: str
    taps: Mapping[str, str] = field(default_factory=dict)
    agent: str = ""
    password: str = ""


def keys(spec: GuestSpec, detached: tuple[int, ...] = ()) -> list[str]:
    """The files of a guest, in the order in which bhyve gets them. detached: slots of media that are not in."""
    found = ["code", "vars", *(f"disk:{disk.disk}" for disk in spec.disks)]
    found += [f"media:{medium.slot}" for medium in spec.media if medium.slot not in detached]
    return found + (["seed"] if spec.seed else [])


def settings(spec: GuestSpec, machine: Machine) -> dict[str, str]:
    """All variables, in a fixed order. Raises Rejected for what bhyve cannot give a guest."""
    check(spec)
    found = _general(spec, machine)
    devices = {slots.HOST_BRIDGE: {"device": "hostbridge"}, slots.RANDOM: {"device": "virtio-rnd"}}
    devices.update(_storage(spec, machine))
    devices.update({slots.place(nic.slot): _nic(nic, machine) for nic in spec.nics})
    devices.update({slots.passthrough(index): _passthrough(text) for index, text in enumerate(spec.passthrough)})
    if spec.agent:
        devices[slots.AGENT] = {"device": "virtio-console", "port.0.name": AGENT_PORT, "port.0.path": machine.agent}
    if spec.screen:
        devices[slots.SCREEN] = _screen(spec, machine)
        devices[slots.USB] = {"device": "xhci", "slot.1.device": "tablet"}
    devices[slots.LPC] = {"device": "lpc"}
    for place in tuple(devices):
        devices.setdefault(slots.placeholder(place), {"device": "hostbridge"})
    for place in sorted(devices, key=lambda item: [int(part) for part in item.split(".")]):
        found.update({f"pci.0.{place}.{name}": value for name, value in devices[place].items()})
    return found


def check(spec: GuestSpec) -> None:
    """Raises Rejected for a description that bhyve cannot carry out on any host."""
    used = [*(disk.slot for disk in spec.disks), *(nic.slot for nic in spec.nics)]
    used += [medium.slot for medium in spec.media]
    for slot in used:
        slots.place(slot)
        if used.count(slot) > 1:
            raise Rejected(f"guest {spec.name}: two devices have slot {slot}")
    for names, what in (([disk.disk for disk in spec.disks], "disk"), ([nic.port for nic in spec.nics], "port")):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise Rejected(f"guest {spec.name}: {what} {twice} is there twice")
    if spec.memory % MIB:
        raise Rejected(f"guest {spec.name}: memory must be whole MiB")
    if not spec.cpus.sockets * spec.cpus.cores * spec.cpus.threads:
        raise Rejected(f"guest {spec.name}: sockets, cores and threads must each be at least 1")
    for index, address in enumerate(spec.passthrough):
        slots.passthrough(index)
        host_address(address)
        if address in spec.passthrough[:index]:
            raise Rejected(f"guest {spec.name}: PCI device {address} is there twice")


def host_address(address: str) -> tuple[int, int, int]:
    """bus, slot and function of a PCI address; raises Rejected for a domain that bhyve cannot name."""
    domain, bus, rest = address.split(":")
    if int(domain, 16):
        raise Rejected(f"PCI device {address}: bhyve passes through devices of domain 0000 only")
    device, function = rest.split(".")
    return int(bus, 16), int(device, 16), int(function)


def uuid(name: str) -> str:
    """The same for the same name, so that an operating system's licence and cloud-init see the same machine."""
    text = hashlib.sha256(f"skep guest {name}".encode()).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-a{text[17:20]}-{text[20:32]}"


def _general(spec: GuestSpec, machine: Machine) -> dict[str, str]:
    cpus = spec.cpus
    found = {
        "name": machine.vm, "uuid": uuid(spec.name), "acpi_tables": "true",
        "cpus": str(cpus.sockets * cpus.cores * cpus.threads), "sockets": str(cpus.sockets),
        "cores": str(cpus.cores), "threads": str(cpus.threads), "memory.size": f"{spec.memory // MIB}M",
    }  # fmt: skip
    if spec.passthrough:  # a device reaches all of the guest's memory, which must stay where it is
        found["memory.wired"] = "true"
    found.update({"x86.vmexit_on_hlt": "true", "x86.vmexit_on_pause": "true"})
    if spec.profile in _LENIENT:
        found["x86.strictmsr"] = "false"
    found["rtc.use_localtime"] = _word(spec.local_clock)
    found.update({"lpc.bootrom": machine.paths["code"], "lpc.bootvars": machine.paths["vars"]})
    found["lpc.com1.path"] = machine.line
    return found


def _storage(spec: GuestSpec, machine: Machine) -> dict[str, dict[str, str]]:
    found = {slots.place(disk.slot): _disk(disk, spec, machine) for disk in spec.disks}
    found.update({slots.place(medium.slot): _medium(medium, machine) for medium in spec.media})
    if spec.seed:
        found[slots.SEED] = _seed(spec, machine.paths["seed"])
    return found


def _disk(disk: DiskDevice, spec: GuestSpec, machine: Machine) -> dict[str, str]:
    options = {"path": machine.paths[f"disk:{disk.disk}"], "ser": disk.serial or disk.disk[:20]}
    if not disk.discard:
        options["nodelete"] = "true"
    if spec.profile == "windows":
        # A zvol's block size would be told as the physical sector, and Windows takes none above 4 KiB.
        options["sectorsize"] = "512/4096"
    if disk.model == "ahci":
        return {"device": "ahci", "port.0.type": "hd", **{f"port.0.{name}": value for name, value in options.items()}}
    return {"device": _BLOCK_MODELS[disk.model], **options}


def _medium(medium: MediaDevice, machine: Machine) -> dict[str, str]:
    """A controller of its own with a drive; the controller stays when the medium was detached. Its serial number does
    not follow from the path, because the firmware's boot entries name it."""
    path = machine.paths.get(f"media:{medium.slot}")
    if path is None:
        return {"device": "ahci"}
    return _cd(path, f"media-{medium.slot}")


def _seed(spec: GuestSpec, path: str) -> dict[str, str]:
    """A disk, because kernels made for clouds have no SATA driver; a CD where virtio needs one."""
    if spec.profile == "windows":
        return _cd(path, "seed")
    return {"device": "virtio-blk", "path": path, "ro": "true", "ser": "seed"}


def _cd(path: str, serial: str) -> dict[str, str]:
    return {
        "device": "ahci", "port.0.type": "cd", "port.0.path": path, "port.0.ro": "true", "port.0.ser": serial,
    }  # fmt: skip


def _nic(nic: NicDevice, machine: Machine) -> dict[str, str]:
    return {"device": _NIC_MODELS[nic.model], "backend": machine.taps[nic.port], "mac": nic.mac}


def _passthrough(address: str) -> dict[str, str]:
    bus, device, function = host_address(address)
    return {"device": "passthru", "bus": str(bus), "slot": str(device), "func": str(function)}


def _screen(spec: GuestSpec, machine: Machine) -> dict[str, str]:
    found = {"device": "fbuf", "rfb": f"127.0.0.1:{SCREEN_PORT}", "w": "1024", "h": "768"}
    if spec.profile == "openbsd":  # its console would go to a VGA that nobody draws
        found["vga"] = "off"
    return {**found, "password": machine.password} if machine.password else found


def _word(value: bool) -> str:
    return "true" if value else "false"
