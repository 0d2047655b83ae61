"""Profiles: what guests of an operating system need when their definition does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .objects import Disk, Guest, Nic


@dataclass(frozen=True, kw_only=True)
class Profile:
    """disk, nic: device models. local_clock: whether the guest takes the hardware clock as local time."""

    title: str
    disk: str
    nic: str
    local_clock: bool


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "linux": Profile(title="Linux", disk="virtio", nic="virtio", local_clock=False),
        "freebsd": Profile(title="FreeBSD", disk="virtio", nic="virtio", local_clock=False),
        "openbsd": Profile(title="OpenBSD", disk="virtio", nic="virtio", local_clock=False),
        # Drivers that are on Microsoft's installation medium; virtio's are not.
        "windows": Profile(title="Windows", disk="ahci", nic="e1000", local_clock=True),
    }
)


def disk_model(guest: Guest, disk: Disk) -> str:
    return disk.model or PROFILES[guest.profile].disk


def nic_model(guest: Guest, nic: Nic) -> str:
    return nic.model or PROFILES[guest.profile].nic


def local_clock(guest: Guest) -> bool:
    return PROFILES[guest.profile].local_clock if guest.local_clock is None else guest.local_clock
