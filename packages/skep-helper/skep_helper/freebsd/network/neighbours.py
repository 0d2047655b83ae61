"""Answers to ARP requests and neighbour solicitations for ports on other hosts: pure functions of frames.

vxlan(4) sends what has no entry in its table to one peer only, broadcasts among it, so that a port behind another peer
would never be asked. What is known of such ports is answered from the network's own interface. The answer's Ethernet
source is that interface's: were it the port's, the bridge would take the port to be there.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping

from ...vocabulary import NetworkSpec

_ARP, _IPV6, _ICMP6 = 0x0806, 0x86DD, 58
_REQUEST, _REPLY = 1, 2
_SOLICITATION, _ADVERTISEMENT, _SOLICITED, _TARGET_MAC = 135, 136, 0x40000000, b"\2\1"
_ARP_HEAD = struct.pack(">HHBB", 1, 0x0800, 6, 4)
_EVERYBODY = ipaddress.IPv6Address("ff02::1").packed
_ANY = bytes(16)
_ETHER, _ARP_END, _SOLICITATION_END = 14, 42, 78

# Accepts ARP requests and what is a neighbour solicitation right behind the IPv6 header; code, jt, jf, k of bpf(4).
FILTER = (
    (0x28, 0, 0, 12),
    (0x15, 0, 2, _ARP),
    (0x28, 0, 0, 20),
    (0x15, 5, 6, _REQUEST),
    (0x15, 0, 5, _IPV6),
    (0x30, 0, 0, 20),
    (0x15, 0, 3, _ICMP6),
    (0x30, 0, 0, 54),
    (0x15, 0, 1, _SOLICITATION),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)


def table(spec: NetworkSpec) -> dict[bytes, bytes]:
    """The MAC of each address that is answered for, both packed."""
    return {
        ipaddress.ip_address(address).packed: bytes.fromhex(neighbour.mac.replace(":", ""))
        for remote in spec.remotes
        for neighbour in remote.neighbours
        for address in neighbour.addresses
    }


def text(known: Mapping[bytes, bytes]) -> str:
    """A table as the file beside its process says it, to be compared."""
    lines = (f"{ipaddress.ip_address(address)} {mac.hex(':')}\n" for address, mac in known.items())
    return "".join(sorted(lines))


def answer(frame: bytes, known: Mapping[bytes, bytes], own: bytes) -> bytes | None:
    """What is to be sent for a frame that came; None for nothing. own: the MAC of the interface that answers."""
    kind = frame[12:14]
    if kind == _ARP.to_bytes(2, "big") and len(frame) >= _ARP_END:
        return _arp(frame, known, own)
    if kind == _IPV6.to_bytes(2, "big") and len(frame) >= _SOLICITATION_END:
        return _nd(frame, known, own)
    return None


def _arp(frame: bytes, known: Mapping[bytes, bytes], own: bytes) -> bytes | None:
    asker_mac, asker, target = frame[22:28], frame[28:32], frame[38:42]
    mac = known.get(target)
    if mac is None or frame[14:22] != _ARP_HEAD + struct.pack(">H", _REQUEST) or asker_mac == mac:
        return None
    return asker_mac + own + struct.pack(">H", _ARP) + _answered(mac, target, asker_mac, asker)


def _answered(mac: bytes, address: bytes, asker_mac: bytes, asker: bytes) -> bytes:
    return _ARP_HEAD + struct.pack(">H", _REPLY) + mac + address + asker_mac + asker


def _nd(frame: bytes, known: Mapping[bytes, bytes], own: bytes) -> bytes | None:
    """A solicitation from nowhere asks whether an address is taken: that is answered to everybody (RFC 4862)."""
    source, target = frame[22:38], frame[62:78]
    mac = known.get(target)
    if mac is None or (frame[20], frame[21], frame[54]) != (_ICMP6, 255, _SOLICITATION) or frame[6:12] == mac:
        return None
    to, flags = (_EVERYBODY, 0) if source == _ANY else (source, _SOLICITED)
    body = struct.pack(">I", flags) + target + _TARGET_MAC + mac
    message = struct.pack(">BBH", _ADVERTISEMENT, 0, _checksum(target, to, _ADVERTISEMENT << 8, body)) + body
    packet = struct.pack(">IHBB", 6 << 28, len(message), _ICMP6, 255) + target + to + message
    destination = b"\x33\x33" + _EVERYBODY[12:] if source == _ANY else frame[6:12]
    return destination + own + struct.pack(">H", _IPV6) + packet


def _checksum(source: bytes, destination: bytes, first: int, body: bytes) -> int:
    """Of an ICMPv6 message whose first word (type and code) is `first`."""
    data = source + destination + struct.pack(">II", 4 + len(body), _ICMP6) + body
    total: int = first + sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
