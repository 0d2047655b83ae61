"""What a network serves by itself, asked for with frames: DHCP, DNS, router advertisements.

Each scenario gets networks and ports of a platform (network_rules.Lab).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import network_frames as f
from network_guest import Guest
from network_rules import Lab
from skep_helper.freebsd.network.guard import link_local
from skep_helper.vocabulary.network import Lease, Subnet

MAC = "02:00:00:00:00:05"
FOUR = Subnet(prefix="10.0.0.0/24", own="10.0.0.1", gateway="10.0.0.1", first="10.0.0.100", last="10.0.0.110")
SIX = Subnet(prefix="fd00::/64", own="fd00::1", gateway="fd00::1", advertise="stateful")
LEASE = Lease(mac=MAC, addresses=("10.0.0.5", "fd00::5"), hostname="files")


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


def the_static_lease(lab: Lab) -> None:
    network = lab.network("dhcp", subnets=(FOUR,), leases=(LEASE,), mtu=1400)
    guest = lab.port(network, 5, filtered=True, rules=())
    address, options = lease(guest)
    assert address == "10.0.0.5"
    assert options[3] == options[6] == f.packed("10.0.0.1")
    assert options[1] == b"\xff\xff\xff\0"
    assert options[26] == struct.pack(">H", 1400)
    assert options[15] == b"skep.internal"
    assert options[12] == b"files"


def mac_of_the_server(guest: Guest) -> str:
    """Not by ARP: a stack may answer it from any of its interfaces."""
    return guest.ask(dhcp(1), b"\x35\1\2")[6:12].hex(":")


def dns_knows_the_guests(lab: Lab) -> None:
    network = lab.network("dns", subnets=(FOUR, SIX), leases=(LEASE,))
    guest = lab.port(network, 5)
    own = mac_of_the_server(guest)
    for kind, wanted in ((1, "10.0.0.5"), (28, "fd00::5")):
        question = struct.pack(">HHHHHH", kind, 0x100, 1, 0, 0, 0) + b"\5files\4skep\x08internal\0"
        data = question + struct.pack(">HH", kind, 1)
        packet = f.ipv4("10.0.0.5", "10.0.0.1", f.UDP, f.udp("10.0.0.5", "10.0.0.1", 1000, 53, data))
        data = f.packed(wanted)
        assert guest.ask(f.ether(MAC, own, f.IPV4, packet), struct.pack(">H", len(data)) + data, answer=True)


def router_advertisement_and_dhcpv6(lab: Lab) -> None:
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


def the_range(lab: Lab) -> None:
    network = lab.network("dhcp", subnets=(replace(FOUR, gateway=None, dns=("10.0.0.53",)),))
    address, options = lease(lab.port(network, 5))
    assert 100 <= int(address.split(".")[3]) <= 110
    assert 3 not in options
    assert options[6] == f.packed("10.0.0.53")


SERVICES: tuple[Callable[[Lab], None], ...] = (
    the_static_lease,
    the_range,
    dns_knows_the_guests,
    router_advertisement_and_dhcpv6,
)
"""What every platform serves alike."""
