"""PCI devices given to guests: checked before the start, because QEMU's own words come late and explain little."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from ..handlers import Failure
from ..policy import Policy
from ..vocabulary.fields import Rejected

SYSFS = Path("/sys/bus/pci/devices")
MOST = 8


def check(
    policy: Policy, addresses: Sequence[str], lent: Collection[str] = frozenset(), sysfs: Path = SYSFS
) -> None:  # fmt: skip
    """lent: what other guests have. Raises Rejected (the policy does not list it) or Failure (missing, unsupported,
    busy) naming what to do."""
    if len(addresses) > MOST:
        raise Rejected(f"{len(addresses)} passed-through devices; a guest can have {MOST}")
    for address in addresses:
        if address not in policy.passthrough:
            raise Rejected(f"PCI device {address} is not listed in the policy's passthrough")
        device = sysfs / address
        if not device.is_dir():
            raise Failure("missing", f"PCI device {address} is not in this host")
        if not (device / "iommu_group").exists():
            raise Failure("unsupported", f"PCI device {address} has no IOMMU group: switch on VT-d or AMD-Vi")
        driver = _driver(device)
        if driver != "vfio-pci":
            hint = f"driverctl set-override {address} vfio-pci"
            raise Failure("unsupported", f"PCI device {address} is bound to {driver}, not to vfio-pci ({hint})")
        _check_group(address, device)
        shared = address if address in lent else _shared(device, lent)
        if shared:
            why = "" if shared == address else f", as its IOMMU group is, with {shared}"
            raise Failure("busy", f"PCI device {address} is in use by another guest{why}: stop that one first")


def _check_group(address: str, device: Path) -> None:
    """All devices of an IOMMU group go together; bridges and unbound ones may stay."""
    for other in sorted((device / "iommu_group" / "devices").iterdir()):
        driver = _driver(other)
        if other.name != address and driver not in ("vfio-pci", "pcieport", "no driver"):
            raise Failure(
                "unsupported",
                f"PCI device {address} shares its IOMMU group with {other.name}, which {driver} uses on the host",
            )


def _shared(device: Path, lent: Collection[str]) -> str:
    """A device of another guest in the same IOMMU group, which one guest can have."""
    return next((other.name for other in (device / "iommu_group" / "devices").iterdir() if other.name in lent), "")


def _driver(device: Path) -> str:
    try:
        return os.path.basename(os.readlink(device / "driver"))
    except FileNotFoundError:
        return "no driver"


def lend(addresses: Sequence[str], uid: int, sysfs: Path = SYSFS) -> None:
    """Let the guest's user open its devices' groups below /dev/vfio; QEMU opens them by name."""
    for address in addresses:
        group = os.path.basename(os.readlink(sysfs / address / "iommu_group"))
        os.chown(f"/dev/vfio/{group}", uid, -1)
