"""Profiles: what guests of an operating system need when their definition does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .objects import Disk, Guest, Nic


@dataclass(frozen=True, kw_only=True)
class Profile:
    """disk, nic: device models. local_clock: whether the guest takes the hardware clock as local time.

    block: volblocksize of blank disks on ZFS. What the system's file system writes at once by default: with larger
    blocks every write is a read, a change and a write of more; with smaller ones there are more pointers and checksums
    to keep, less is compressed, and raidz pads more. Never below 16 KiB, OpenZFS's own choice.
    """

    title: str
    disk: str
    nic: str
    local_clock: bool
    block: int = 16 << 10


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        # ext4 and XFS: blocks of 4 KiB, written together where they lie together.
        "linux": Profile(title="Linux", disk="virtio", nic="virtio", local_clock=False),
        # newfs(8): blocks of 32 KiB in fragments of 4 KiB, which only the ends of files are. ZFS in the guest: records
        # of up to 128 KiB.
        "freebsd": Profile(title="FreeBSD", disk="virtio", nic="virtio", local_clock=False, block=32 << 10),
        # newfs(8): eight fragments of 2 KiB.
        "openbsd": Profile(title="OpenBSD", disk="virtio", nic="virtio", local_clock=False),
        # NTFS: clusters of 4 KiB. Drivers that are on Microsoft's installation medium; virtio's are not.
        "windows": Profile(title="Windows", disk="ahci", nic="e1000", local_clock=True),
    }
)


def disk_model(guest: Guest, disk: Disk) -> str:
    return disk.model or PROFILES[guest.profile].disk


def nic_model(guest: Guest, nic: Nic) -> str:
    return nic.model or PROFILES[guest.profile].nic


def block_size(guest: Guest) -> int:
    return PROFILES[guest.profile].block


def local_clock(guest: Guest) -> bool:
    return PROFILES[guest.profile].local_clock if guest.local_clock is None else guest.local_clock
