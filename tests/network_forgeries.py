"""What a guard must drop and what it must let pass: frames, and how one sees which of them arrive.

Each bad frame goes between two good ones, all three looked for in one capture.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

import network_frames as f
from network_guest import Guest
from skep_helper.freebsd.network.guard import link_local
from skep_helper.vocabulary.network import AddressPair

OWN, OWN6 = "10.0.0.5", "fd00::5"
VICTIM, VICTIM6 = "10.0.0.6", "fd00::6"
FOREIGN, FOREIGN6 = "10.0.0.77", "fd00::77"
MAC, VICTIM_MAC, FOREIGN_MAC = "02:00:00:00:00:05", "02:00:00:00:00:06", "02:00:00:00:00:77"
LINK_LOCAL = link_local(MAC)
EVIL = b"-evil-frame-"


class Pair(NamedTuple):
    sender: Guest
    victim: Guest


def reaches(pair: Pair, *frames: bytes) -> list[bytes]:
    """What of these frames reaches the victim, shown by a good frame before and after them in the same capture."""
    pair.victim.drain()
    pair.sender.send(pair.sender.udp(pair.victim, b"control-before"), *frames)
    pair.sender.send(pair.sender.udp(pair.victim, b"control-after"))
    captured = pair.victim.until(b"control-after")
    # The network's own interface says things of its own accord.
    captured = [frame for frame in captured if frame[6:11] == f.mac(MAC)[:5]]
    assert b"control-before" in captured[0]
    return captured[1:-1]


def udp4(source: str, sport: int, dport: int, destination: str = VICTIM) -> bytes:
    return f.ipv4(source, destination, f.UDP, f.udp(source, destination, sport, dport, EVIL))


def udp6(source: str, sport: int, dport: int) -> bytes:
    return f.ipv6(source, VICTIM6, f.UDP, f.udp(source, VICTIM6, sport, dport, EVIL))


def to_victim(kind: int, payload: bytes, source: str = MAC) -> bytes:
    return f.ether(source, VICTIM_MAC, kind, payload)


def fragments4(
    packet_payload: bytes, size: int = 16, destination: str = VICTIM, identification: int = 0x4242
) -> list[bytes]:
    """A UDP packet from the own address in fragments of this size."""
    pieces = [packet_payload[at : at + size] for at in range(0, len(packet_payload), size)]
    return [
        f.ipv4(
            OWN, destination, f.UDP, piece, offset=at * size, more=at < len(pieces) - 1, identification=identification
        )
        for at, piece in enumerate(pieces)
    ]


def advertisement(target: str, source: str = OWN6) -> bytes:
    body = struct.pack(">I", 0x60000000) + f.packed(target) + b"\2\1" + f.mac(MAC)
    return f.icmp6(source, VICTIM6, 136, body)


def solicitation(target: str, source: str) -> bytes:
    return f.icmp6(source, VICTIM6, 135, bytes(4) + f.packed(target))


RA_BODY = struct.pack(">BBHII", 64, 0, 1800, 0, 0) + b"\1\1" + f.mac(MAC)
RA = f.icmp6(LINK_LOCAL, VICTIM6, 134, RA_BODY)


def ra_with(first: int, chain: bytes) -> bytes:
    return to_victim(f.IPV6, f.ipv6(LINK_LOCAL, VICTIM6, first, chain))


OFFER = f.udp(OWN, VICTIM, 67, 68, EVIL * 4)
OFFER6 = f.udp(OWN6, VICTIM6, 547, 546, EVIL * 4)

BAD = {
    "mac": [to_victim(f.IPV4, udp4(OWN, 1, 2), FOREIGN_MAC)],
    "arp request of a foreign address": [to_victim(f.ARP, f.arp(1, MAC, FOREIGN, FOREIGN_MAC, VICTIM))],
    "arp reply of a foreign address": [to_victim(f.ARP, f.arp(2, MAC, FOREIGN, VICTIM_MAC, VICTIM))],
    "gratuitous arp request": [f.ether(MAC, f.BROADCAST, f.ARP, f.arp(1, MAC, FOREIGN, f.BROADCAST, FOREIGN))],
    "gratuitous arp reply": [f.ether(MAC, f.BROADCAST, f.ARP, f.arp(2, MAC, FOREIGN, f.BROADCAST, FOREIGN))],
    "arp with a foreign mac inside": [to_victim(f.ARP, f.arp(2, FOREIGN_MAC, OWN, VICTIM_MAC, VICTIM))],
    "arp probe of a foreign address": [to_victim(f.ARP, f.arp(1, MAC, "0.0.0.0", FOREIGN_MAC, FOREIGN))],
    "arp in a strange form": [to_victim(f.ARP, f.arp(2, MAC, OWN, VICTIM_MAC, VICTIM).replace(b"\6\4", b"\6\5", 1))],
    "ipv4 source": [to_victim(f.IPV4, udp4(FOREIGN, 1, 2))],
    "ipv4 from nowhere": [to_victim(f.IPV4, udp4("0.0.0.0", 1, 2))],
    "ipv4 in a broken header": [to_victim(f.IPV4, b"\x41" + udp4(OWN, 1, 2)[1:])],
    "ipv6 source": [to_victim(f.IPV6, udp6(FOREIGN6, 1, 2))],
    "ipv6 link-local source": [to_victim(f.IPV6, udp6("fe80::77", 1, 2))],
    "ipv6 from nowhere": [to_victim(f.IPV6, udp6("::", 1, 2))],
    "na of a foreign target": [to_victim(f.IPV6, f.ipv6(OWN6, VICTIM6, f.ICMP6, advertisement(FOREIGN6)))],
    "na of a foreign source": [to_victim(f.IPV6, f.ipv6(FOREIGN6, VICTIM6, f.ICMP6, advertisement(OWN6, FOREIGN6)))],
    "na behind options": [
        to_victim(f.IPV6, f.ipv6(OWN6, VICTIM6, f.DESTINATION, f.extension(f.ICMP6) + advertisement(FOREIGN6)))
    ],
    "na in a fragment": [
        to_victim(f.IPV6, f.ipv6(OWN6, VICTIM6, f.FRAGMENT, f.fragment(f.ICMP6, 0, False) + advertisement(FOREIGN6)))
    ],
    "dad of a foreign address": [to_victim(f.IPV6, f.ipv6("::", VICTIM6, f.ICMP6, solicitation(FOREIGN6, "::")))],
    "redirect": [to_victim(f.IPV6, f.ipv6(OWN6, VICTIM6, f.ICMP6, f.icmp6(OWN6, VICTIM6, 137, bytes(36))))],
    "ra": [ra_with(f.ICMP6, RA)],
    "ra behind hop-by-hop options": [ra_with(f.HOP_BY_HOP, f.extension(f.ICMP6) + RA)],
    "ra behind destination options": [ra_with(f.DESTINATION, f.extension(f.ICMP6) + RA)],
    "ra behind a routing header": [ra_with(f.ROUTING, f.routing(f.ICMP6) + RA)],
    "ra behind three headers": [
        ra_with(f.HOP_BY_HOP, f.extension(f.DESTINATION) + f.extension(f.ROUTING) + f.routing(f.ICMP6) + RA)
    ],
    "ra in an atomic fragment": [ra_with(f.FRAGMENT, f.fragment(f.ICMP6, 0, False) + RA)],
    "ra in two fragments": [
        ra_with(f.FRAGMENT, f.fragment(f.ICMP6, 0, True) + RA[:16]),
        ra_with(f.FRAGMENT, f.fragment(f.ICMP6, 16, False) + RA[16:]),
    ],
    "ra whose header is in the second fragment": [
        ra_with(f.FRAGMENT, f.fragment(f.DESTINATION, 0, True) + f.extension(f.ICMP6)),
        ra_with(f.FRAGMENT, f.fragment(f.DESTINATION, 8, False) + RA),
    ],
    "ra behind options that lie about their length": [ra_with(f.DESTINATION, b"\x3a\x20" + bytes(6) + RA)],
    "dhcp offer": [to_victim(f.IPV4, udp4(OWN, 67, 68))],
    "dhcp offer from another port": [to_victim(f.IPV4, udp4(OWN, 6767, 68))],
    "dhcp offer in fragments": [to_victim(f.IPV4, packet) for packet in fragments4(OFFER)],
    "dhcp offer in fragments of eight bytes": [to_victim(f.IPV4, packet) for packet in fragments4(OFFER, 8)],
    "dhcp offer broadcast in fragments": [
        f.ether(MAC, f.BROADCAST, f.IPV4, packet) for packet in fragments4(OFFER, 16, "255.255.255.255")
    ],
    "dhcpv6 advertise": [to_victim(f.IPV6, udp6(OWN6, 547, 546))],
    "dhcpv6 from another port": [to_victim(f.IPV6, udp6(OWN6, 5547, 546))],
    "dhcpv6 behind options": [to_victim(f.IPV6, f.ipv6(OWN6, VICTIM6, f.DESTINATION, f.extension(f.UDP) + OFFER6))],
    "dhcpv6 whose header is in the second fragment": [
        to_victim(f.IPV6, f.ipv6(OWN6, VICTIM6, f.FRAGMENT, f.fragment(f.DESTINATION, 0, True) + f.extension(f.UDP))),
        to_victim(f.IPV6, f.ipv6(OWN6, VICTIM6, f.FRAGMENT, f.fragment(f.DESTINATION, 8, False) + OFFER6)),
    ],
    "tagged": [f.tagged(to_victim(f.IPV4, udp4(OWN, 1, 2)), 5)],
    "priority tagged": [f.tagged(to_victim(f.IPV4, udp4(OWN, 1, 2)), 0)],
    "tagged by a provider": [f.tagged(to_victim(f.IPV4, udp4(OWN, 1, 2)), 5, f.QINQ)],
    "tagged twice": [f.tagged(f.tagged(to_victim(f.IPV4, udp4(OWN, 1, 2)), 5), 6, f.QINQ)],
    "another ether type": [to_victim(0x8863, EVIL + bytes(40))],
    "spanning tree": [f.ether(MAC, "01:80:c2:00:00:00", 38, b"\x42\x42\x03" + bytes(40))],
}

GOOD = {
    "arp request": [to_victim(f.ARP, f.arp(1, MAC, OWN, FOREIGN_MAC, VICTIM))],
    "arp reply": [to_victim(f.ARP, f.arp(2, MAC, OWN, VICTIM_MAC, VICTIM))],
    "gratuitous arp": [f.ether(MAC, f.BROADCAST, f.ARP, f.arp(1, MAC, OWN, f.BROADCAST, OWN))],
    "arp probe": [f.ether(MAC, f.BROADCAST, f.ARP, f.arp(1, MAC, "0.0.0.0", FOREIGN_MAC, OWN))],
    "udp": [to_victim(f.IPV4, udp4(OWN, 1, 2))],
    "udp over ipv6": [to_victim(f.IPV6, udp6(OWN6, 1, 2))],
    "udp from the link-local address": [to_victim(f.IPV6, udp6(LINK_LOCAL, 1, 2))],
    "udp behind options": [
        to_victim(f.IPV6, f.ipv6(OWN6, VICTIM6, f.DESTINATION, f.extension(f.UDP) + f.udp(OWN6, VICTIM6, 1, 2, EVIL)))
    ],
    "dhcp discover": [
        f.ether(
            MAC, f.BROADCAST, f.IPV4,
            f.ipv4("0.0.0.0", "255.255.255.255", f.UDP, f.udp("0.0.0.0", "255.255.255.255", 68, 67, EVIL)),
        )
    ],
    "na": [to_victim(f.IPV6, f.ipv6(OWN6, VICTIM6, f.ICMP6, advertisement(OWN6)))],
    "na of the link-local address": [
        to_victim(f.IPV6, f.ipv6(LINK_LOCAL, VICTIM6, f.ICMP6, advertisement(LINK_LOCAL, LINK_LOCAL)))
    ],
    "ns": [to_victim(f.IPV6, f.ipv6(OWN6, VICTIM6, f.ICMP6, solicitation(VICTIM6, OWN6)))],
    "dad": [to_victim(f.IPV6, f.ipv6("::", VICTIM6, f.ICMP6, solicitation(OWN6, "::")))],
    "router solicitation": [
        to_victim(f.IPV6, f.ipv6(LINK_LOCAL, VICTIM6, f.ICMP6, f.icmp6(LINK_LOCAL, VICTIM6, 133, bytes(4))))
    ],
    "ping": [to_victim(f.IPV4, f.ipv4(OWN, VICTIM, f.ICMP, f.icmp4(8, bytes(4) + EVIL)))],
    "ping6": [to_victim(f.IPV6, f.ipv6(OWN6, VICTIM6, f.ICMP6, f.icmp6(OWN6, VICTIM6, 128, bytes(4) + EVIL)))],
}  # fmt: skip

UNSENDABLE = ("spanning tree", "ipv4 in a broken header", "ra behind options that lie about their length")
"""What a bridge (or its filter's parser) does not pass on whoever sends it."""


def honest_fragments_pass(pair: Pair) -> None:
    """They may arrive joined (the rules look at whole packets) but arrive."""
    payload = f.udp(OWN, VICTIM, 1, 2, b"honest" * 100)
    arrived = b"".join(reaches(pair, *(to_victim(f.IPV4, p) for p in fragments4(payload, 200, identification=7))))
    assert arrived.count(b"honest") >= 98  # a word cut by a border counts not


def all_pass_without_a_guard(pair: Pair, unsendable: tuple[str, ...] = UNSENDABLE) -> None:
    """The positive control: it is the guard that drops them, not the bridge or the sender.

    unsendable: what the platform's bridge does not pass on whoever sends it. Fragments are left out: tracking joins
    or drops them whatever the guard does.
    """
    for case, frames in BAD.items():
        if "fragment" not in case and case not in unsendable:
            assert (found := reaches(pair, *frames)) == frames, (case, found)


def a_change_holds_at_once(change: Callable[..., None], own: Pair) -> None:
    """Pairs let further addresses through; prefix 0 lets sources through but not claims."""
    source, claim = BAD["ipv4 source"], BAD["arp reply of a foreign address"]
    assert reaches(own, *source, *claim) == []
    change(own.sender, pairs=(AddressPair(mac=None, prefix="10.0.0.77/32"),))
    assert reaches(own, *source, *claim) == [*source, *claim]
    change(own.sender, pairs=(AddressPair(mac=None, prefix="0.0.0.0/0"),))
    assert reaches(own, *source, *claim) == source
    change(own.sender, pairs=(AddressPair(mac=FOREIGN_MAC, prefix="10.0.0.5/32"),))
    assert reaches(own, *BAD["mac"], *source) == BAD["mac"]
