"""Facts of a FreeBSD host, from a kernel that answers as the recorded one does; and which platform is chosen."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest
from skep_helper.vocabulary import Feature, HelloReading
from skepd.platform.freebsd import kernel as kernel_module
from skepd.platform.freebsd.facts import read_facts
from skepd.platform.freebsd.kernel import Kernel
from skepd.platform.here import here
from skepd.platform.linux import PLACES

HELLO = HelloReading(
    version=1,
    platform="freebsd",
    boot_id="b-1",
    features=(Feature(name="vmm", works=False, reason="no SVM"), Feature(name="nat", works=True)),
)


class Told(Kernel):
    """Sysctls as in the recorded inventory, with a bridge, a VLAN and a lagg added."""

    numbers = {"hw.ncpu": 2, "hw.physmem": 6415732736}
    below = {"bridge0": ("em1", "tap3"), "em2.10": ("lagg0",), "lagg0": ("em2", "em3")}
    held = {
        "dev.ppt.1.%location": "slot=0 function=1 dbsf=pci0:3:0:1",
        "dev.ppt.1.%driver": "ppt",
        "dev.ppt.0.%location": "slot=31 function=0 dbsf=pci0:130:31:0",
    }

    def __init__(self) -> None:
        """Without a C library, which has nothing of this on other systems."""

    def number(self, name: str) -> int:
        return self.numbers[name]

    def text(self, name: str) -> str:
        return {"kern.hostname": "fbsdlab"}[name]

    def texts_below(self, name: str) -> dict[str, str]:
        return self.held if name == "dev.ppt" else {}

    def addresses(self) -> list[tuple[str, kernel_module.Address]]:
        found = [("lo0", "127.0.0.1"), ("bridge0", "192.0.2.1"), ("em2.10", "2001:db8::1"), ("em4", "fe80::1")]
        return [(name, ipaddress.ip_address(address)) for name, address in found]

    def beneath(self, name: str) -> tuple[str, ...]:
        return self.below.get(name, ())


def test_facts() -> None:
    uplinks = ("em0", "em1", "em2", "em3", "em4", "bridge0")
    facts = read_facts(replace(HELLO, uplinks=uplinks), kernel=Told())
    assert (facts.platform, facts.hostname, facts.boot_id) == ("freebsd", "fbsdlab", "b-1")
    assert (facts.cpus, facts.memory, facts.disk_format) == (2, 6415732736, "zvol")
    assert facts.pci_devices == ("0000:03:00.1", "0000:82:1f.0")
    assert facts.missing == {"vmm": "no SVM"}
    # What carries the host's addresses counts, however deep; a link-local address alone does not.
    assert facts.management == ("em1", "em2", "em3", "bridge0")


def answer_ioctl(monkeypatch: pytest.MonkeyPatch, members: list[str], parent: str, ports: list[str]) -> None:
    """Stand in for the kernel: each request is answered by interfaces of its kind, refused for others."""

    def put(place: int, data: bytes) -> None:
        ctypes.memmove(place, data, len(data))

    def ioctl(control: socket.socket, request: int, asked: bytes) -> bytes:
        name = asked[:16].split(b"\0")[0].decode()
        if (request, name) == (0xC028697B, "bridge0"):
            command, length, place = struct.unpack_from("=QQQ", asked, 16)
            assert (command, length) == (6, 16)
            size, buffer = struct.unpack("=I4xQ", ctypes.string_at(place, 16))
            data = b"".join(member.encode().ljust(80, b"\0") for member in members)
            assert size >= len(data)
            put(buffer, data)
            put(place, struct.pack("=I", len(data)))
        elif (request, name) == (0xC020693A, "em0.10"):
            put(struct.unpack_from("=Q", asked, 16)[0], parent.encode() + b"\0")
        elif (request, name) == (0xC050698F, "lagg0"):
            size, buffer = struct.unpack_from("=QQ", asked, 24)
            assert size == 72 * 32
            put(buffer, b"".join(b"lagg0".ljust(16, b"\0") + port.encode().ljust(56, b"\0") for port in ports))
            return asked[:40] + struct.pack("=i", len(ports)) + asked[44:]
        else:
            raise OSError(22, "Invalid argument")
        return asked

    monkeypatch.setattr(kernel_module.fcntl, "ioctl", ioctl)


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    answer_ioctl(monkeypatch, ["em1", "skcpa1b2c3d4e0"], "em0", ["em2", "em3"])
    return Kernel()


def test_what_lies_beneath(asking: Kernel) -> None:
    assert asking.beneath("bridge0") == ("em1", "skcpa1b2c3d4e0")
    assert asking.beneath("em0.10") == ("em0",)
    assert asking.beneath("lagg0") == ("em2", "em3")
    assert asking.beneath("em1") == ()


def test_a_vlan_without_a_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_ioctl(monkeypatch, [], "", [])
    assert Kernel().beneath("em0.10") == ()


def test_the_platform_is_chosen_by_its_name() -> None:
    assert here("linux").places == PLACES
    for name in ("freebsd13", "freebsd14", "freebsd15"):
        assert here(name).read_facts is read_facts
        assert str(here(name).places.signers) == "/usr/local/etc/skep/allowed-signers"
    with pytest.raises(LookupError, match="netbsd10"):
        here("netbsd10")
