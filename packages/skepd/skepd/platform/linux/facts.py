"""What a plan must know of a Linux host, read from /proc and /sys without any privilege."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from skep_helper.vocabulary import HelloReading

from skepd.model.facts import HostFacts


def read_facts(hello: HelloReading, *, root: Path = Path("/")) -> HostFacts:
    """Facts of this host: its disks are files where the helper can keep files. root: where /proc and /sys are.

    Raises OSError when /proc or /sys is not mounted.
    """
    reachable = _carriers(root, _addressed(root))
    missing = {feature.name: feature.reason for feature in hello.features if not feature.works}
    return HostFacts(
        platform=hello.platform,
        hostname=(root / "proc/sys/kernel/hostname").read_text().strip(),
        boot_id=hello.boot_id,
        cpus=_cpus(root),
        memory=_memory(root),
        disk_format="zvol" if "files" in missing else "qcow2",
        uplinks=hello.uplinks,
        management=tuple(name for name in hello.uplinks if name in reachable),
        pci_devices=_names(root / "sys/bus/pci/devices"),
        missing=missing,
    )


def _cpus(root: Path) -> int:
    """CPUs that are online: "0-3,8" are five."""
    count = 0
    for part in (root / "sys/devices/system/cpu/online").read_text().strip().split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


def _memory(root: Path) -> int:
    """Bytes that the kernel has at all, used or not."""
    for line in (root / "proc/meminfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == "MemTotal":
            return int(value.split()[0]) << 10
    raise OSError(f"{root}/proc/meminfo has no MemTotal")


def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else ()


def _addressed(root: Path) -> Iterator[str]:
    """Interfaces that the host is reached by: with an IPv4 route, or an IPv6 address that is not only local."""
    for line in (root / "proc/net/route").read_text().splitlines()[1:]:
        yield line.split()[0]
    six = root / "proc/net/if_inet6"
    for line in six.read_text().splitlines() if six.exists() else ():
        _, _, _, scope, _, name = line.split()
        if scope == "00":
            yield name


def _carriers(root: Path, names: Iterator[str]) -> set[str]:
    """These interfaces and all beneath them: the ports of a bridge, the parent of a VLAN, the legs of a bond."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            lower = (root / "sys/class/net" / name).glob("lower_*")
            pending += [path.name.removeprefix("lower_") for path in lower]
    return found
