"""Ethernet frames built by hand, good ones and bad ones."""

from __future__ import annotations

import ipaddress
import struct

BROADCAST = "ff:ff:ff:ff:ff:ff"
ARP, IPV4, IPV6, VLAN, QINQ = 0x0806, 0x0800, 0x86DD, 0x8100, 0x88A8
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def ether(source: str, destination: str, kind: int, payload: bytes) -> bytes:
    return mac(destination) + mac(source) + struct.pack(">H", kind) + payload


def tagged(frame: bytes, vlan: int, kind: int = VLAN) -> bytes:
    return frame[:12] + struct.pack(">HH", kind, vlan) + frame[12:]


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def arp(operation: int, sender_mac: str, sender: str, target_mac: str, target: str) -> bytes:
    start = struct.pack(">HHBBH", 1, IPV4, 6, 4, operation)
    return start + mac(sender_mac) + packed(sender) + mac(target_mac) + packed(target)


def ipv4(
    source: str, destination: str, protocol: int, payload: bytes, *, offset: int = 0, more: bool = False,
    identification: int = 0x4242,
) -> bytes:  # fmt: skip
    """offset: of the fragment, in bytes."""
    flags = (0x2000 if more else 0) | offset // 8
    start = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), identification, flags, 64, protocol, 0)
    header = start + packed(source) + packed(destination)
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def ipv6(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 255) + packed(source) + packed(destination) + payload


def _pseudo(source: str, destination: str, protocol: int, length: int) -> bytes:
    start = packed(source) + packed(destination)
    return start + (
        struct.pack(">BBH", 0, protocol, length) if len(start) == 8 else struct.pack(">II", length, protocol)
    )


def udp(source: str, destination: str, source_port: int, destination_port: int, data: bytes) -> bytes:
    start = struct.pack(">HHHH", source_port, destination_port, 8 + len(data), 0)
    total = checksum(_pseudo(source, destination, UDP, 8 + len(data)) + start + data)
    return start[:6] + struct.pack(">H", total or 0xFFFF) + data


def icmp6(source: str, destination: str, kind: int, body: bytes, code: int = 0) -> bytes:
    message = struct.pack(">BBH", kind, code, 0) + body
    total = checksum(_pseudo(source, destination, ICMP6, len(message)) + message)
    return message[:2] + struct.pack(">H", total) + message[4:]


def icmp4(kind: int, body: bytes, code: int = 0) -> bytes:
    message = struct.pack(">BBH", kind, code, 0) + body
    return message[:2] + struct.pack(">H", checksum(message)) + message[4:]


def extension(next_header: int, data: bytes = b"\1\4\0\0\0\0") -> bytes:
    """A hop-by-hop or destination options header (8 bytes, padding)."""
    return struct.pack(">BB", next_header, (len(data) + 2) // 8 - 1) + data


def routing(next_header: int) -> bytes:
    return struct.pack(">BBBBI", next_header, 0, 4, 0, 0)


def fragment(next_header: int, offset: int, more: bool) -> bytes:
    return struct.pack(">BBHI", next_header, 0, offset | more, 0x4242)


def tcp(
    source: str, destination: str, source_port: int, destination_port: int, flags: int, sequence: int, ack: int,
    data: bytes = b"",
) -> bytes:  # fmt: skip
    start = struct.pack(">HHIIBBHHH", source_port, destination_port, sequence, ack, 0x50, flags, 8192, 0, 0)
    total = checksum(_pseudo(source, destination, TCP, 20 + len(data)) + start + data)
    return start[:16] + struct.pack(">H", total) + start[18:] + data


def answers(frame: bytes, own_mac: str, addresses: tuple[str, ...]) -> list[bytes]:
    """What a guest with these addresses answers to an ARP request or a neighbour solicitation; else nothing."""
    kind = struct.unpack(">H", frame[12:14])[0]
    asker = frame[6:12].hex(":")
    for address in addresses:
        raw = packed(address)
        if kind == ARP and frame[20:22] == b"\0\1" and frame[38:42] == raw:
            asking = str(ipaddress.ip_address(frame[28:32]))
            return [ether(own_mac, asker, ARP, arp(2, own_mac, address, asker, asking))]
        if kind == IPV6 and frame[20] == ICMP6 and frame[54] == 135 and frame[62:78] == raw:
            asking = str(ipaddress.ip_address(frame[22:38]))
            body = struct.pack(">I", 0x60000000) + raw + b"\2\1" + mac(own_mac)
            return [ether(own_mac, asker, IPV6, ipv6(address, asking, ICMP6, icmp6(address, asking, 136, body)))]
    return []


def packet(frame: bytes) -> tuple[str, str, bytes]:
    """(source, destination, payload) of an IPv4 or IPv6 frame without options."""
    if frame[12:14] == b"\x08\0":
        return str(ipaddress.ip_address(frame[26:30])), str(ipaddress.ip_address(frame[30:34])), frame[34:]
    return str(ipaddress.ip_address(frame[22:38])), str(ipaddress.ip_address(frame[38:54])), frame[54:]
