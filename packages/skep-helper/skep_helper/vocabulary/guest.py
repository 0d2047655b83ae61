"""Requests that run guests. StartGuest carries everything that the VMM's configuration is rendered from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from .fields import (
    Address,
    Checked,
    Count,
    Digest,
    ImageVersion,
    Mac,
    Memory,
    Name,
    PciAddress,
    PortName,
    Seconds,
    SerialText,
    ShortText,
    TransportPort,
    _range,
    word,
)

DISK_MODELS = ("virtio", "ahci", "nvme")
NIC_MODELS = ("virtio", "e1000")
PROFILES = ("freebsd", "openbsd", "linux", "windows")
STATES = ("stopped", "running", "paused", "stopping", "crashed")
ENDINGS = ("", "power-off", "reboot", "halt", "triple-fault", "error", "killed", "unknown")


@dataclass(frozen=True, kw_only=True)
class Cpus(Checked):
    """CPU topology: the guest has sockets * cores * threads CPUs."""

    sockets: Count = 1
    cores: Count = 1
    threads: Count = 1


@dataclass(frozen=True, kw_only=True)
class DiskDevice(Checked):
    """A disk of the guest as a device. slot is stable: adding a device never moves another."""

    disk: Name
    slot: Count
    model: word(*DISK_MODELS) = "virtio"  # type: ignore[valid-type]
    serial: SerialText = ""
    discard: bool = True


@dataclass(frozen=True, kw_only=True)
class NicDevice(Checked):
    """A network card, connected to a port that ApplyPort made."""

    port: PortName
    slot: Count
    mac: Mac
    model: word(*NIC_MODELS) = "virtio"  # type: ignore[valid-type]


@dataclass(frozen=True, kw_only=True)
class MediaDevice(Checked):
    """An image as read-only CD. until_reboot: detached when the guest reboots for the first time (installers)."""

    image: Name
    version: ImageVersion
    slot: Count
    until_reboot: bool = False


@dataclass(frozen=True, kw_only=True)
class GuestSpec(Checked):
    """A guest as the VMM sees it. digest: of the definition it was made from, so that drift is seen."""

    name: Name
    digest: Digest
    memory: Memory
    cpus: Cpus = field(default_factory=Cpus)
    profile: word(*PROFILES) = "linux"  # type: ignore[valid-type]
    disks: tuple[DiskDevice, ...] = ()
    nics: tuple[NicDevice, ...] = ()
    media: tuple[MediaDevice, ...] = ()
    seed: bool = False
    screen: bool = True
    agent: bool = True
    tpm: bool = False
    local_clock: bool = False
    secure_boot: bool = False
    passthrough: tuple[PciAddress, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StartGuest(Checked):
    """Start a guest, or do nothing if it runs already. Its ports must exist. Answer: GuestReading."""

    guest: GuestSpec


@dataclass(frozen=True, kw_only=True)
class StopGuest(Checked):
    """Stop a guest; repeatable. Long: runs beside other requests.

    timeout: seconds for an orderly shutdown (ACPI power button) before it is ended; 0 ends it at once.
    force: whether to end it after the timeout; otherwise the request fails and the guest keeps running.
    """

    guest: Name
    timeout: Seconds = 60
    force: bool = True


@dataclass(frozen=True, kw_only=True)
class ResetGuest(Checked):
    """Reset a running guest at once, like its reset button."""

    guest: Name


@dataclass(frozen=True, kw_only=True)
class PauseGuest(Checked):
    guest: Name


@dataclass(frozen=True, kw_only=True)
class ResumeGuest(Checked):
    guest: Name


@dataclass(frozen=True, kw_only=True)
class ReadGuests(Checked):
    """Answer: a tuple of GuestReading, one for each guest that has a guard or a VMM, or that ended since boot."""


@dataclass(frozen=True, kw_only=True)
class GuestReading(Checked):
    """What runs. digest is that of the GuestSpec it was started with, empty when nothing runs."""

    name: Name
    state: word(*STATES)  # type: ignore[valid-type]
    digest: str = ""
    pid: int = 0
    started: float = 0.0
    ending: word(*ENDINGS) = ""  # type: ignore[valid-type]
    ended: float = 0.0
    reboots: int = 0
    media_detached: bool = False
    accelerator: ShortText = ""
    message: ShortText = ""


@dataclass(frozen=True, kw_only=True)
class ReadConsole(Checked):
    """Bytes of the serial history from an offset (-1: the last `length` bytes). Answer: {"offset", "data" (base64)}."""

    guest: Name
    offset: int = -1
    length: int = 65_536


@dataclass(frozen=True, kw_only=True)
class OpenConsole(Checked):
    """Answer: one descriptor, a stream socket: bytes in are typed, bytes out are the serial output from now on, or
    from an offset of the history; and {"offset"} of the first byte that comes out.

    writer: only one writer at a time; take: take over from the one there is.
    offset: where to begin, or at the next byte that is kept; negative: so many bytes before the end; None: at the end.
    """

    guest: Name
    writer: bool = True
    take: bool = False
    offset: Annotated[int, _range(-(1 << 30), 1 << 60)] | None = None


@dataclass(frozen=True, kw_only=True)
class OpenScreen(Checked):
    """Answer: one descriptor, a stream socket that speaks RFB."""

    guest: Name


@dataclass(frozen=True, kw_only=True)
class OpenAgent(Checked):
    """Answer: one descriptor, a stream socket to the guest agent's port (QEMU guest agent protocol)."""

    guest: Name


@dataclass(frozen=True, kw_only=True)
class Probe(Checked):
    """One try of a health gate; never waits longer than `timeout`. Answer: ProbeReading.

    serial: text has appeared in the serial output since the guest's last start.
    ping, tcp: from within the network's stack to address (and port). agent: the guest agent answers.
    """

    kind: word("serial", "ping", "tcp", "agent")  # type: ignore[valid-type]
    guest: Name
    network: Name | None = None
    address: Address | None = None
    port: TransportPort = 0
    text: ShortText = ""
    timeout: Seconds = 2


@dataclass(frozen=True, kw_only=True)
class ProbeReading(Checked):
    passed: bool
    detail: ShortText = ""
