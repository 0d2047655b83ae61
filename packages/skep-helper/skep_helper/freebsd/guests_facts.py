"""What a guest's start needs to know of its host, read in a few calls; parsing is pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..handlers import Failure
from ..run import run

MIB = 1 << 20
_NAMES = (
    "kern.osreldate", "hw.physmem", "hw.vmm.maxcpu", "hw.vmm.iommu.initialized", "hw.vmm.vmx.initialized",
    "hw.vmm.vmx.cap.unrestricted_guest", "kstat.zfs.misc.arcstats.c_min",
)  # fmt: skip
_DEVICE = re.compile(r"^(\S+?)(\d*)@pci(\d+):(\d+):(\d+):(\d+):", re.MULTILINE)
_MESSAGES = Path("/var/run/dmesg.boot")
# What vmm(4) says when it does not like the processor.
_REFUSALS = re.compile(r"^(SVM: .*|vmx_modinit: .*)$", re.MULTILINE)
LOAD = "load it: kldload vmm nmdm; sysrc kld_list+='vmm nmdm'"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """release: as kern.osreldate, 1302001 is 13.2. vmm: why vmm(4) cannot run guests, empty when it can. memory: bytes
    of the host. kept: bytes of it that guests must leave alone. devices: driver by PCI address, without its number."""

    release: int
    vmm: str = ""
    nmdm: bool = True
    max_cpus: int = 16
    memory: int = 0
    kept: int = 0
    iommu: bool = False
    devices: Mapping[str, str] = field(default_factory=dict)


def read() -> Facts:
    values = sysctl(*_NAMES)
    loaded = _has("vmm")
    reason = "" if loaded else refusal(_messages())
    return judge(values, loaded=loaded, reason=reason, nmdm=_has("nmdm"), devices=pci_devices(run(["pciconf", "-l"])))


def judge(values: Mapping[str, str], *, loaded: bool, reason: str, nmdm: bool, devices: Mapping[str, str]) -> Facts:
    """values: of the sysctls. loaded: whether the kernel has the module vmm, which it also lacks when vmm.ko is there
    but refused the processor; reason: what it said then."""
    memory = int(values.get("hw.physmem", 0))
    vmm = "" if loaded else (f"vmm(4) refuses this processor ({reason})" if reason else f"vmm(4) is not loaded; {LOAD}")
    if (
        loaded
        and values.get("hw.vmm.vmx.initialized") == "1"
        and values.get("hw.vmm.vmx.cap.unrestricted_guest") == "0"
    ):
        vmm = "this processor has no unrestricted guests (EPT), which UEFI needs"
    # What ZFS may not go below, and a sixteenth for the kernel and the host's own programs.
    kept = int(values.get("kstat.zfs.misc.arcstats.c_min", 0)) + max(memory // 16, 512 * MIB)
    return Facts(
        release=int(values.get("kern.osreldate", 0)), vmm=vmm, nmdm=nmdm,
        max_cpus=int(values.get("hw.vmm.maxcpu", 16)), memory=memory, kept=kept,
        iommu=values.get("hw.vmm.iommu.initialized") == "1", devices=devices,
    )  # fmt: skip


def sysctl(*names: str) -> dict[str, str]:
    """Values by name; those that this kernel does not have are missing."""
    return parse_sysctl(run(["sysctl", "-ie", *names]).decode(errors="replace"))


def parse_sysctl(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def pci_devices(listing: bytes) -> dict[str, str]:
    """Drivers by PCI address (0000:03:00.0) from `pciconf -l`; "none" for a device that no driver took."""
    found = {}
    for name, _, *place in _DEVICE.findall(listing.decode(errors="replace")):
        domain, bus, slot, function = (int(number) for number in place)
        found[f"{domain:04x}:{bus:02x}:{slot:02x}.{function}"] = name
    return found


def refusal(messages: str) -> str:
    """Why vmm(4) was not initialised, from the kernel's messages; empty when they do not say."""
    found = _REFUSALS.findall(messages)
    return str(found[-1]).strip().rstrip(".") if found else ""


def _has(module: str) -> bool:
    try:
        run(["kldstat", "-q", "-m", module])
    except Failure:
        return False
    return True


def _messages() -> str:
    """The kernel's, those since the boot last."""
    early = _MESSAGES.read_text(errors="replace") if _MESSAGES.exists() else ""
    return early + run(["dmesg"]).decode(errors="replace")
