"""What a plan must know of a FreeBSD host, read by sysctl and ioctl without any privilege."""

from __future__ import annotations

import re
from collections.abc import Iterable

from skep_helper.vocabulary import HelloReading

from skepd.model.facts import HostFacts

from .kernel import Kernel

_PLACE = re.compile(r"\bdbsf=pci(\d+):(\d+):(\d+):(\d+)")


def read_facts(hello: HelloReading, *, disk_format: str = "zvol", kernel: Kernel | None = None) -> HostFacts:
    """Facts of this host. Raises OSError when the kernel does not answer."""
    kernel = kernel or Kernel()
    reachable = _carriers(kernel, _addressed(kernel))
    return HostFacts(
        platform=hello.platform,
        hostname=kernel.text("kern.hostname"),
        boot_id=hello.boot_id,
        cpus=kernel.number("hw.ncpu"),
        memory=kernel.number("hw.physmem"),
        disk_format=disk_format,
        uplinks=hello.uplinks,
        management=tuple(name for name in hello.uplinks if name in reachable),
        pci_devices=_lendable(kernel.texts_below("dev.ppt")),
        missing={feature.name: feature.reason for feature in hello.features if not feature.works},
    )


def _addressed(kernel: Kernel) -> list[str]:
    """Interfaces that the host is reached by: with an address that is neither of the loopback nor only local."""
    return [name for name, address in kernel.addresses() if not address.is_loopback and not address.is_link_local]


def _carriers(kernel: Kernel, names: Iterable[str]) -> set[str]:
    """These interfaces and all beneath them: the members of a bridge, the parent of a VLAN, the ports of a lagg."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += kernel.beneath(name)
    return found


def _lendable(values: dict[str, str]) -> tuple[str, ...]:
    """Addresses (0000:03:00.0) of the devices that ppt(4) holds, for only those can go to a guest."""
    found = []
    for name, value in values.items():
        if name.endswith(".%location") and (match := _PLACE.search(value)):
            domain, bus, slot, function = (int(part) for part in match.groups())
            found.append(f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}")
    return tuple(sorted(found))
