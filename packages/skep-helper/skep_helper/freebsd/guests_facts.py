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
    "hw.vmm.vmx.cap.unrestricted_guest", "kstat.zfs.misc.arcstats.c_min", "hw.pagesize", "vm.max_user_wired",
    "vm.stats.vm.v_user_wire_count",
)  # fmt: skip
_DEVICE = re.compile(r"^(\S+?)(\d*)@pci(\d+):(\d+):(\d+):(\d+):.*?hdr=0x([0-9a-f]+)", re.MULTILINE)
# Capabilities 5 and 0x11 of the PCI specification, as pciconf -c shows them: MSI and MSI-X.
_MESSAGES_OF = re.compile(r"^\s+cap (?:05|11)\[", re.MULTILINE)
_BRIDGE = 0x01
"""Header type of a PCI-PCI bridge, without the bit that tells of several functions."""
_MESSAGES = Path("/var/run/dmesg.boot")
# What vmm(4) says when it does not like the processor.
_REFUSALS = re.compile(r"^(SVM: .*|vmx_modinit: .*)$", re.MULTILINE)
LOAD = "load it: kldload vmm nmdm; sysrc kld_list+='vmm nmdm'"


@dataclass(frozen=True)
class Device:
    """A PCI function of the host. driver: without its number, "none" when no driver took it. messages: whether it can
    interrupt by messages (MSI, MSI-X). bridge: whether it is a bridge to another bus."""

    driver: str
    messages: bool = True
    bridge: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """release: as kern.osreldate, 1302001 is 13.2. vmm: why vmm(4) cannot run guests, empty when it can. memory: bytes
    of the host. kept: bytes of it that guests must leave alone. wirable: bytes that may still be wired, -1 when the
    kernel does not say. devices: by PCI address (0000:03:00.0)."""

    release: int
    vmm: str = ""
    nmdm: bool = True
    max_cpus: int = 16
    memory: int = 0
    kept: int = 0
    iommu: bool = False
    wirable: int = -1
    devices: Mapping[str, Device] = field(default_factory=dict)


def read() -> Facts:
    values = sysctl(*_NAMES)
    loaded = _has("vmm")
    reason = "" if loaded else refusal(_messages())
    return judge(
        values, loaded=loaded, reason=reason, nmdm=_has("nmdm"), devices=pci_devices(run(["pciconf", "-l", "-c"]))
    )


def judge(values: Mapping[str, str], *, loaded: bool, reason: str, nmdm: bool, devices: Mapping[str, Device]) -> Facts:
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
        iommu=values.get("hw.vmm.iommu.initialized") == "1", wirable=_wirable(values), devices=devices,
    )  # fmt: skip


def sysctl(*names: str) -> dict[str, str]:
    """Values by name; those that this kernel does not have are missing."""
    return parse_sysctl(run(["sysctl", "-ie", *names]).decode(errors="replace"))


def parse_sysctl(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _wirable(values: Mapping[str, str]) -> int:
    """What vm_map_wire(9) still lets users wire, in bytes: bhyve wires the memory of guests with passed-through devices
    on their behalf."""
    if "vm.max_user_wired" not in values:
        return -1
    pages = int(values["vm.max_user_wired"]) - int(values.get("vm.stats.vm.v_user_wire_count", 0))
    return max(pages, 0) * int(values.get("hw.pagesize", 4096))


def pci_devices(listing: bytes) -> dict[str, Device]:
    """From `pciconf -l -c`: a line for each function, and indented lines for its capabilities."""
    text = listing.decode(errors="replace")
    starts = list(_DEVICE.finditer(text))
    found = {}
    for number, start in enumerate(starts):
        end = starts[number + 1].start() if number + 1 < len(starts) else len(text)
        name, _, *place, header = start.groups()
        domain, bus, slot, function = (int(part) for part in place)
        found[f"{domain:04x}:{bus:02x}:{slot:02x}.{function}"] = Device(
            driver=name,
            messages=bool(_MESSAGES_OF.search(text, start.end(), end)),
            bridge=int(header, 16) & 0x7F == _BRIDGE,
        )
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
