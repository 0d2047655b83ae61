"""Debian's packages that Skep needs on a host."""

from __future__ import annotations

from .commands import run
from .progress import step

NEEDED = (
    "python3",
    "python3-venv",
    "qemu-system-x86",
    "qemu-utils",
    "ovmf",
    "dnsmasq-base",
    "nftables",
    "iproute2",
    "conntrack",
    "mtools",
    "xorriso",
    "e2fsprogs",
    "binutils",
    "zstd",
    "openssh-client",
    "openssl",
    "adduser",
)


def install() -> None:
    """Install what is missing, with apt."""
    missing = [name for name in NEEDED if not _installed(name)]
    if not missing:
        return
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"install {' '.join(missing)}"):
        run(["apt-get", "update", "-q"], environment)
        run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing], environment)


def _installed(name: str) -> bool:
    found = run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n"]) if not _STATES else ""
    for line in found.splitlines():
        package, _, state = line.partition(" ")
        _STATES[package] = state
    return _STATES.get(name) == "installed"


_STATES: dict[str, str] = {}
