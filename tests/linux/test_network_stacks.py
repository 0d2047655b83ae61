"""Networks: their kinds, what they serve, what is noticed when it is gone, and what they leave alone."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import network_frames as f
import pytest
from network_lab import Guest, Lab, own_stack
from skep_helper.linux.network import names
from skep_helper.linux.network.guard import link_local
from skep_helper.vocabulary import ApplyNetwork, NetworkSpec
from skep_helper.vocabulary.network import Lease, Subnet

pytestmark = pytest.mark.real

MAC = "02:00:00:00:00:05"
FOUR = Subnet(prefix="10.0.0.0/24", own="10.0.0.1", gateway="10.0.0.1", first="10.0.0.100", last="10.0.0.110")
SIX = Subnet(prefix="fd00::/64", own="fd00::1", gateway="fd00::1", advertise="stateful")
LEASE = Lease(mac=MAC, addresses=("10.0.0.5", "fd00::5"), hostname="files")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with own_stack():
        lab = Lab(uplinks=("up0", "upbr0"), forwarding=True)
        try:
            yield lab
        finally:
            lab.close()


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def dhcp(kind: int, *options: bytes) -> bytes:
    """A broadcast frame of a DHCP client with MAC."""
    head = struct.pack(">BBBBIHH16x", 1, 1, 6, 0, 0x4242, 0, 0x8000) + f.mac(MAC) + bytes(10 + 192)
    data = head + b"\x63\x82\x53\x63\x35\1" + bytes([kind]) + b"".join(options) + b"\x37\6\1\3\6\x0c\x0f\x1a\xff"
    ends = ("0.0.0.0", "255.255.255.255")
    return f.ether(MAC, f.BROADCAST, f.IPV4, f.ipv4(*ends, f.UDP, f.udp(*ends, 68, 67, data)))


def offered(frame: bytes) -> tuple[str, dict[int, bytes]]:
    """(address, options) of a DHCP answer."""
    data = frame[42:]
    options, at = {}, 240
    while data[at] != 255:
        options[data[at]] = data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return ".".join(map(str, data[16:20])), options


def lease(guest: Guest) -> tuple[str, dict[int, bytes]]:
    """A whole exchange: discover, offer, request, acknowledgement."""
    address, options = offered(guest.ask(dhcp(1), b"\x35\1\2"))
    return offered(guest.ask(dhcp(3, b"\x32\4" + f.packed(address), b"\x36\4" + options[54]), b"\x35\1\5"))


def test_dhcp_serves_the_static_lease_even_through_closed_rules(lab: Lab) -> None:
    network = lab.network("dhcp", subnets=(FOUR,), leases=(LEASE,), mtu=1400)
    guest = lab.port(network, 5, filtered=True, rules=())
    address, options = lease(guest)
    assert address == "10.0.0.5"
    assert options[3] == options[6] == f.packed("10.0.0.1")
    assert options[1] == b"\xff\xff\xff\0"
    assert options[26] == struct.pack(">H", 1400)
    assert options[15] == b"skep.internal"
    assert options[12] == b"files"


def test_dhcp_serves_the_range_and_new_leases_without_a_restart(lab: Lab) -> None:
    network = lab.network("dhcp", subnets=(replace(FOUR, gateway=None, dns=("10.0.0.53",)),))
    guest = lab.port(network, 5)
    address, options = lease(guest)
    assert 100 <= int(address.split(".")[3]) <= 110
    assert 3 not in options
    assert options[6] == f.packed("10.0.0.53")
    before = server_pid(lab, network)
    lab.do(ApplyNetwork(network=replace(network, leases=(LEASE,), digest="f" * 16)))
    guest.drain()
    for _ in range(200):  # the signal is taken when dnsmasq gets to it
        if lease(guest)[0] == "10.0.0.5":
            break
    else:
        raise AssertionError("the new lease is not served")
    assert server_pid(lab, network) == before


def server_pid(lab: Lab, network: NetworkSpec) -> str:
    return (lab.run / "networks" / "dns" / network.name / "pid").read_text().strip()


def test_dns_knows_the_guests(lab: Lab) -> None:
    network = lab.network("dns", subnets=(FOUR, SIX), leases=(LEASE,))
    guest = lab.port(network, 5)
    own = own_mac(lab, network)
    for kind, wanted in ((1, "10.0.0.5"), (28, "fd00::5")):
        question = struct.pack(">HHHHHH", kind, 0x100, 1, 0, 0, 0) + b"\5files\4skep\x08internal\0"
        data = question + struct.pack(">HH", kind, 1)
        packet = f.ipv4("10.0.0.5", "10.0.0.1", f.UDP, f.udp("10.0.0.5", "10.0.0.1", 1000, 53, data))
        guest.send(f.ether(MAC, own, f.IPV4, packet))
        assert guest.until(f.packed(wanted), answer=True)


def own_mac(lab: Lab, network: NetworkSpec) -> str:
    namespace = names.network_namespace(network.name)
    return lab.inside(namespace, "cat", f"/sys/class/net/{names.OWN}/address").strip()


def test_router_advertisement_and_dhcpv6(lab: Lab) -> None:
    network = lab.network("six", subnets=(SIX,), leases=(LEASE,), mtu=1400)
    guest = lab.port(network, 5, filtered=True, rules=(), addresses=("fd00::5",))
    local = link_local(MAC)
    ends = (local, "ff02::2")
    guest.send(f.ether(MAC, "33:33:00:00:00:02", f.IPV6, f.ipv6(*ends, f.ICMP6, f.icmp6(*ends, 133, bytes(4)))))
    frame = until(guest, lambda frame: frame[20] == f.ICMP6 and frame[54] == 134)
    assert frame[59] & 0x80, "managed flag"
    assert struct.unpack(">H", frame[60:62])[0] == 1800
    assert struct.pack(">BBHI", 5, 1, 0, 1400) in frame
    identity = b"\0\1\0\x0a\0\3\0\1" + f.mac(MAC)
    data = b"\1\0\0\1" + identity + struct.pack(">HHIII", 3, 12, 1, 0, 0)
    ends = (local, "ff02::1:2")
    guest.send(f.ether(MAC, "33:33:00:01:00:02", f.IPV6, f.ipv6(*ends, f.UDP, f.udp(*ends, 546, 547, data))))
    frame = until(guest, lambda frame: frame[20] == f.UDP and frame[54:58] == struct.pack(">HH", 547, 546))
    assert frame[62:66] == b"\2\0\0\1"
    assert f.packed("fd00::5") in frame


def until(guest: Guest, wanted: object) -> bytes:
    while True:
        frame = guest.receive()
        guest.send(*f.answers(frame, guest.mac, (link_local(guest.mac), *guest.spec.addresses)))
        if wanted(frame):  # type: ignore[operator]
            return frame


def test_dnsmasq_cannot_send_root_to_another_file(lab: Lab) -> None:
    """dnsmasq opens its leases as root; whoever took its user over must not be able to say which file that is."""
    network = lab.network("link", subnets=(FOUR,))
    folder = lab.run / "networks" / "dns" / network.name
    assert ((folder / "state").stat().st_uid, (folder / "state").stat().st_mode & 0o777) == (0, 0o700)
    assert (folder / "state" / "leases").is_file()

    # As an earlier version left it, with a link put there meanwhile.
    victim = lab.run / "victim"
    victim.write_text("root's\n")
    (folder / "state" / "leases").unlink()
    (folder / "state" / "leases").symlink_to(victim)
    os.chown(folder / "state", 65_534, 65_534)
    lab.do(ApplyNetwork(network=replace(network, domain="other.example", digest="f" * 16)))
    opened = Path("/proc", (folder / "pid").read_text().strip(), "fd")
    assert str(victim) not in [os.readlink(entry) for entry in opened.iterdir()]
    assert not (folder / "state" / "leases").is_symlink()
    assert (folder / "state").stat().st_uid == 0
