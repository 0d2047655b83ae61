"""The guard of a port: which frames a guest may send at all. A BPF program for ng_bpf(4), before bridge and rules.

A pure function of the port's spec. Only what is listed passes; a load beyond the end of the frame drops it. It judges
as the guard of the other platform does; limits and choices:

- A port without a guard but with rules keeps the part that decides on types: pf would take a tagged packet for an
  untagged one, and let it through with its tag.
- A tag is part of the frame here (ng_vlan puts it back, see netgraph), so a tagged frame is of an unknown type.
- Link-local IPv6: only the address made from the MAC (EUI-64), or one that the port's addresses name.
- A pair of prefix length 0 lets a routing guest send from any address, but claim none by ARP or ND.
- DHCP: neither from a server's port nor to a client's, so a guest behind the guard cannot relay DHCP.
- IPv6 headers are followed through EXTENSIONS extension headers, what lies deeper is dropped. The transport header must
  lie within the packet, not only within the frame: what is behind the packet is no part of it for the receiver.
- Fragments: the first one must hold the whole transport header (RFC 7112, RFC 8200) and is judged by it. Later ones
  pass by source address, for without the first they are nothing. None to group addresses (IPv4), none of ND (RFC 6980).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from ...vocabulary import PortSpec, Rejected
from . import bpf
from .bpf import All, Any, Condition, Field, Instruction, Program

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

EXTENSIONS = 4
_ARP, _RARP, _IPV4, _IPV6 = 0x0806, 0x8035, 0x0800, 0x86DD
_UDP, _ICMP6, _RESERVED = 17, 58, 255
_OPTIONS, _FRAGMENT, _AUTHENTICATION = (0, 43, 60), 44, 51
_ANY_SOURCE_ICMP6 = (1, 2, 3, 4, 128, 129, 131, 132, 133, 135, 143)
_FROM_NOWHERE = (131, 132, 143, 133)
"""MLD reports and router solicitations may come from ::, as long as the guest has no address."""
_SOLICITATION, _ADVERTISEMENT = 135, 136
_ND = range(133, 138)
_NEXT, _FRAGMENTED, _KIND = 1, 2, 3
"""Cells of memory: the next header, whether a fragment header was seen, the ICMPv6 type."""
_ETHER = 14
_SOURCE_MAC, _TYPE = 6, 12
_ARP_SENDER_MAC, _ARP_SENDER, _ARP_TARGET, _ARP_OPERATION = 22, 28, 38, 20
_SOURCE4, _DESTINATION4, _SOURCE6, _PAYLOAD6 = 26, 30, 22, 18


def wanted(spec: PortSpec) -> bool:
    """Whether a port has a program at all."""
    return spec.guarded or spec.filtered


def program(spec: PortSpec) -> tuple[Instruction, ...]:
    """The program of a port; raises Rejected when it has more addresses than one program can hold."""
    out = Program()
    if not spec.guarded:
        out.do(bpf.LD_H, _TYPE)
        out.choose(((kind, "accept") for kind in (_IPV4, _IPV6, _ARP, _RARP)), "drop")
        return bpf.assemble(out)
    own = sources(spec)
    out.unless(Any(tuple(_mac_is(_SOURCE_MAC, mac) for mac in sorted(own))), "drop")
    out.do(bpf.LD_H, _TYPE)
    out.choose(((_IPV4, "ip4"), (_IPV6, "ip6"), (_ARP, "arp"), (_RARP, "accept")), "drop")
    _arp(out, own)
    _ip4(out, own)
    _ip6(out, own)
    try:
        return bpf.assemble(out)
    except ValueError as error:
        message = f"port {spec.name}: its addresses and pairs make too large a guard ({error}): give it fewer"
        raise Rejected(message) from None


def link_local(mac: str) -> str:
    """The EUI-64 link-local address of a MAC."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 2
    identifier = bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier))


def sources(spec: PortSpec) -> dict[str, list[Network]]:
    """What each MAC of the port may send from."""
    found: dict[str, list[Network]] = {spec.mac: [ipaddress.ip_network(address) for address in spec.addresses]}
    for pair in spec.pairs:
        found.setdefault(pair.mac or spec.mac, []).append(ipaddress.ip_network(pair.prefix, strict=False))
    for mac, networks in found.items():
        networks.append(ipaddress.ip_network(link_local(mac)))
    return found


def _of(networks: list[Network], version: int, claimed: bool) -> list[Network]:
    """Those of one IP version, without overlaps; claimed: without those that ARP and ND must not claim."""
    chosen = [net for net in networks if net.version == version and not (claimed and net.prefixlen == 0)]
    return list(ipaddress.collapse_addresses(chosen))  # type: ignore[type-var]


def _mac_is(at: int, mac: str) -> Condition:
    octets = bytes.fromhex(mac.replace(":", ""))
    high, low = int.from_bytes(octets[:4], "big"), int.from_bytes(octets[4:], "big")
    return All((Field(at + 4, 2, low), Field(at, 4, high)))


def _in(at: int, network: Network, indexed: bool = False) -> Condition:
    """Whether the address there is of a prefix. The last words first: they differ most."""
    tests = []
    for word in range(network.max_prefixlen // 32):
        shift = network.max_prefixlen - 32 * (word + 1)
        mask = (int(network.netmask) >> shift) & 0xFFFFFFFF
        if mask:
            value = (int(network.network_address) >> shift) & 0xFFFFFFFF
            tests.append(Field(at + 4 * word, 4, value, mask, indexed))
    return tests[0] if len(tests) == 1 else All(tuple(reversed(tests)))


def _owns(
    own: dict[str, list[Network]], version: int, at: Iterable[tuple[int, bool]], *more: Condition, claimed: bool = False
) -> Condition:
    """Whether the addresses at all these places (offset, counted from X) belong to the frame's source MAC."""
    choices: list[Condition] = []
    for mac, networks in own.items():
        wanted = _of(networks, version, claimed)
        if wanted:
            places = tuple(Any(tuple(_in(offset, net, indexed) for net in wanted)) for offset, indexed in at)
            choices.append(All((_mac_is(_SOURCE_MAC, mac), *more, *places)))
    return Any(tuple(choices))


def _arp(out: Program, own: dict[str, list[Network]]) -> None:
    out.label("arp")
    out.unless(All((Field(14, 4, 0x00010800), Field(18, 2, 0x0604))), "drop")
    out.unless(Any((Field(_ARP_OPERATION, 2, 1), Field(_ARP_OPERATION, 2, 2))), "drop")
    out.unless(Any(tuple(All((_mac_is(_SOURCE_MAC, m), _mac_is(_ARP_SENDER_MAC, m))) for m in own)), "drop")
    out.unless(_owns(own, 4, [(_ARP_SENDER, False)], claimed=True), "probe")
    out.jump("accept")
    out.label("probe")
    out.unless(All((Field(_ARP_OPERATION, 2, 1), Field(_ARP_SENDER, 4, 0))), "drop")
    out.decide(_owns(own, 4, [(_ARP_TARGET, False)], claimed=True))


def _ip4(out: Program, own: dict[str, list[Network]]) -> None:
    out.label("ip4")
    out.unless(Field(_ETHER, 1, 0x40, 0xF0), "drop")
    out.do(bpf.LD_B, _ETHER)
    out.do(bpf.AND, 0x0F)
    out.branch(bpf.GREATER_OR_EQUAL, 5, "", "drop")
    out.do(bpf.LD_B, 0)
    out.branch(bpf.ANY_BIT, 1, "", "unicast")
    out.do(bpf.LD_H, 20)
    out.branch(bpf.ANY_BIT, 0x3FFF, "drop")
    out.label("unicast")
    out.do(bpf.LD_B, 23)
    out.branch(bpf.EQUAL, _RESERVED, "drop")
    out.branch(bpf.EQUAL, _UDP, "", "source4")
    out.do(bpf.LD_H, 20)
    out.branch(bpf.ANY_BIT, 0x1FFF, "source4")
    out.do(bpf.LDX_IHL, _ETHER)
    out.do(bpf.LD_H_X, _ETHER)
    out.branch(bpf.EQUAL, 67, "drop")
    out.branch(bpf.EQUAL, 68, "", "datagram4")
    out.unless(All((Field(_SOURCE4, 4, 0), Field(_DESTINATION4, 4, 0xFFFFFFFF))), "datagram4")
    out.do(bpf.LD_H_X, _ETHER + 2)
    out.branch(bpf.EQUAL, 67, "accept")
    out.label("datagram4")
    out.do(bpf.LD_H_X, _ETHER + 2)
    out.branch(bpf.EQUAL, 68, "drop")
    out.label("source4")
    out.decide(_owns(own, 4, [(_SOURCE4, False)]))


def _ip6(out: Program, own: dict[str, list[Network]]) -> None:
    """Follow the headers (next one in memory, X: where it is in the packet), then judge the last."""
    out.label("ip6")
    out.unless(Field(_ETHER, 1, 0x60, 0xF0), "drop")
    out.do(bpf.LD_IMMEDIATE, 0)
    out.do(bpf.STORE, _FRAGMENTED)
    out.do(bpf.LD_B, 20)
    out.do(bpf.STORE, _NEXT)
    out.do(bpf.LD_IMMEDIATE, 40)
    out.do(bpf.TO_X)
    for level in range(EXTENSIONS):
        _extension(out, level)
    out.label(f"header{EXTENSIONS}")
    out.do(bpf.LD_MEMORY, _NEXT)
    out.choose(((number, "drop") for number in (*_OPTIONS, _FRAGMENT, _AUTHENTICATION)), "transport6")
    _transport6(out, own)


def _extension(out: Program, level: int) -> None:
    """One extension header, if there is one: on to the header behind it."""
    onward = f"header{level + 1}"
    out.label(f"header{level}")
    out.do(bpf.LD_MEMORY, _NEXT)
    choices = [(number, f"options{level}") for number in _OPTIONS]
    choices += [(_FRAGMENT, f"fragment{level}"), (_AUTHENTICATION, f"authentication{level}")]
    out.choose(choices, "transport6")
    for name, unit, more in ((f"options{level}", 3, 1), (f"authentication{level}", 2, 2)):
        out.label(name)
        out.do(bpf.LD_B_X, _ETHER)
        out.do(bpf.STORE, _NEXT)
        out.do(bpf.LD_B_X, _ETHER + 1)
        out.do(bpf.ADD, more)
        out.do(bpf.LEFT, unit)
        out.do(bpf.ADD_X)
        out.do(bpf.TO_X)
        out.jump(onward)
    out.label(f"fragment{level}")
    out.do(bpf.LD_B_X, _ETHER)
    out.do(bpf.STORE, _NEXT)
    out.do(bpf.LD_H_X, _ETHER + 2)
    out.branch(bpf.ANY_BIT, 0xFFF8, "other6")
    out.do(bpf.LD_IMMEDIATE, 1)
    out.do(bpf.STORE, _FRAGMENTED)
    out.do(bpf.FROM_X)
    out.do(bpf.ADD, 8)
    out.do(bpf.TO_X)
    out.jump(onward)


def _within_packet(out: Program, length: int) -> None:
    """Drop unless this many bytes from X are within the packet."""
    out.do(bpf.LD_H, _PAYLOAD6)
    out.do(bpf.ADD, 40 - length)
    out.branch(bpf.GREATER_OR_EQUAL_X, 0, "", "drop")


def _transport6(out: Program, own: dict[str, list[Network]]) -> None:
    nowhere = All(tuple(Field(_SOURCE6 + 4 * word, 4, 0) for word in (3, 2, 1, 0)))
    target = (_ETHER + 8, True)
    out.label("transport6")
    out.do(bpf.LD_MEMORY, _NEXT)
    out.choose(((_UDP, "udp6"), (_ICMP6, "icmp6")), "other6")

    out.label("udp6")
    _within_packet(out, 8)
    out.do(bpf.LD_H_X, _ETHER)
    out.branch(bpf.EQUAL, 547, "drop")
    out.do(bpf.LD_H_X, _ETHER + 2)
    out.branch(bpf.EQUAL, 546, "drop", "source6")

    out.label("icmp6")
    _within_packet(out, 4)
    out.do(bpf.LD_B_X, _ETHER)
    out.do(bpf.STORE, _KIND)
    out.do(bpf.LD_MEMORY, _FRAGMENTED)
    out.branch(bpf.EQUAL, 0, "whole6")
    out.do(bpf.LD_MEMORY, _KIND)
    out.choose(((kind, "drop") for kind in _ND), "whole6")
    out.label("whole6")
    out.unless(nowhere, "somewhere6")
    out.do(bpf.LD_MEMORY, _KIND)
    out.choose(((_SOLICITATION, "detection6"), *((kind, "accept") for kind in _FROM_NOWHERE)), "drop")
    out.label("somewhere6")
    out.do(bpf.LD_MEMORY, _KIND)
    out.choose(((_ADVERTISEMENT, "advertisement6"), *((kind, "source6") for kind in _ANY_SOURCE_ICMP6)), "drop")

    out.label("detection6")
    _within_packet(out, 24)
    out.decide(_owns(own, 6, [target], claimed=True))
    out.label("advertisement6")
    _within_packet(out, 24)
    out.unless(_owns(own, 6, [target], claimed=True), "drop")
    out.jump("source6")

    out.label("other6")
    out.do(bpf.LD_MEMORY, _NEXT)
    out.branch(bpf.EQUAL, _RESERVED, "drop")
    out.label("source6")
    out.decide(_owns(own, 6, [(_SOURCE6, False)]))
