"""The guard of a port: which frames a guest may send at all. Stateless, on the tap's ingress, before anything else.

Only what is listed passes; what the kernel cannot parse (headers that lie about their length, extension headers cut
off) matches nothing and is dropped. A pure function of the port's spec; limits and choices:

- Link-local IPv6: only the address made from the MAC (EUI-64), or one that the port's addresses name. A guest with
  random ("stable privacy") link-local addresses must be told to use EUI-64, or its address be given.
- A pair of prefix length 0 lets a routing guest send from any address, but claim none by ARP or ND.
- DHCP: neither from a server's port nor to a client's, so a guest behind the guard cannot relay DHCP.
- Fragments: the first one must hold the whole transport header (RFC 7112, RFC 8200) and is judged by it. Later ones
  pass by source address, for without the first they are nothing. None to group addresses (IPv4), none of ND
  (RFC 6980).
- Tagged frames of a trunk port are checked for VLAN and MAC alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from ...vocabulary import PortSpec
from . import names

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SOLICITED = "nd-neighbor-solicit"
_REPORTS = "{ mld-listener-report, mld-listener-done, mld2-listener-report }"
_ICMP6 = (
    "{ destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request, echo-reply, "
    "mld-listener-report, mld-listener-done, nd-router-solicit, nd-neighbor-solicit, mld2-listener-report }"
)
_TARGET = 64
"""Bit offset of the target address in a neighbour solicitation or advertisement."""
_RARP = "0x8035"
"""What QEMU announces a moved guest with."""


def chain_names(interface: str) -> tuple[str, ...]:
    """The chains of a port's guard, the base chain first."""
    return (interface, f"{interface}-arp", f"{interface}-ip4", f"{interface}-ip6")


def script(interface: str, spec: PortSpec) -> str:
    """Commands that bring a port's guard to its spec in one transaction (none when it is off)."""
    lines = [f"add table netdev {names.TABLE}"]
    base, arp, ip4, ip6 = chain_names(interface)
    if not spec.guarded:
        return removal(interface)
    hook = f'{{ type filter hook ingress device "{interface}" priority -500; policy drop; }}'
    lines += [f"add chain netdev {names.TABLE} {base} {hook}"]
    lines += [f"add chain netdev {names.TABLE} {chain}" for chain in (arp, ip4, ip6)]
    lines += [f"flush chain netdev {names.TABLE} {chain}" for chain in (base, arp, ip4, ip6)]
    for chain, rules in ((arp, _arp(spec)), (ip4, _ip4(spec)), (ip6, _ip6(spec)), (base, _base(interface, spec))):
        lines += [f"add rule netdev {names.TABLE} {chain} {rule}" for rule in rules]
    return "\n".join(lines) + "\n"


def removal(interface: str) -> str:
    """Commands that remove a port's guard, whether it is there or not."""
    chains = chain_names(interface)
    hook = f'{{ type filter hook ingress device "{interface}" priority -500; policy drop; }}'
    lines = [f"add table netdev {names.TABLE}", f"add chain netdev {names.TABLE} {chains[0]} {hook}"]
    lines += [f"add chain netdev {names.TABLE} {chain}" for chain in chains[1:]]
    lines += [f"flush chain netdev {names.TABLE} {chain}" for chain in chains]
    lines += [f"delete chain netdev {names.TABLE} {chain}" for chain in chains]
    return "\n".join(lines) + "\n"


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


def _of(networks: list[Network], version: int, *, claimed: bool = False) -> list[Network]:
    """Those of one IP version, without overlaps; claimed: without those that ARP and ND must not claim."""
    chosen = [net for net in networks if net.version == version and not (claimed and net.prefixlen == 0)]
    return list(ipaddress.collapse_addresses(chosen))  # type: ignore[type-var]


def _set(networks: list[Network]) -> str:
    return "{ " + ", ".join(_text(network) for network in networks) + " }"


def _text(network: Network) -> str:
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def _base(interface: str, spec: PortSpec) -> Iterator[str]:
    macs = "{ " + ", ".join(sorted(sources(spec))) + " }"
    yield f"ether saddr != {macs} drop"
    if spec.vlans:
        yield "ether type 8021q vlan id { " + ", ".join(map(str, sorted(spec.vlans))) + " } accept"
    yield "ether type { 8021q, 8021ad, 0x9100, 0x9200 } drop"
    _, arp, ip4, ip6 = chain_names(interface)
    yield f"meta protocol vmap {{ ip : goto {ip4}, ip6 : goto {ip6}, arp : goto {arp}, {_RARP} : accept }}"


def _arp(spec: PortSpec) -> Iterator[str]:
    yield "arp htype != 1 drop"
    yield "arp ptype != 0x0800 drop"
    yield "arp hlen != 6 drop"
    yield "arp plen != 4 drop"
    yield "arp operation != { request, reply } drop"
    for mac, networks in sources(spec).items():
        own = _of(networks, 4, claimed=True)
        if own:
            sender = f"ether saddr {mac} arp saddr ether {mac}"
            yield f"{sender} arp saddr ip {_set(own)} accept"
            yield f"arp operation request {sender} arp saddr ip 0.0.0.0 arp daddr ip {_set(own)} accept"


def _ip4(spec: PortSpec) -> Iterator[str]:
    yield "ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 ip frag-off & 0x3fff != 0 drop"
    # Not "sport != 67 dport != 68" in one rule: nft 1.0.6 joins the two into one comparison, an "or".
    yield "udp sport 67 drop"
    yield "ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept"
    for mac, networks in sources(spec).items():
        own = _of(networks, 4)
        if not own:
            continue
        source = f"ether saddr {mac} ip saddr {_set(own)}"
        yield f"{source} ip frag-off & 0x1fff != 0 meta l4proto != 255 accept"
        yield f"{source} udp dport != 68 accept"
        yield f"{source} meta l4proto != {{ udp, 255 }} accept"


def _ip6(spec: PortSpec) -> Iterator[str]:
    yield "exthdr frag exists icmpv6 type 133-137 drop"
    yield "udp sport 547 drop"
    for mac, networks in sources(spec).items():
        own, claimed = _of(networks, 6), _of(networks, 6, claimed=True)
        for target in map(_target, claimed):
            yield f"ether saddr {mac} ip6 saddr :: icmpv6 type {_SOLICITED} {target} accept"
            yield f"ether saddr {mac} ip6 saddr {_set(own)} icmpv6 type nd-neighbor-advert {target} accept"
        yield f"ether saddr {mac} ip6 saddr :: icmpv6 type {_REPORTS} accept"
        yield f"ether saddr {mac} ip6 saddr :: icmpv6 type nd-router-solicit accept"
        source = f"ether saddr {mac} ip6 saddr {_set(own)}"
        yield f"{source} frag frag-off != 0 meta l4proto != 255 accept"
        yield f"{source} icmpv6 type {_ICMP6} accept"
        yield f"{source} udp dport != 546 accept"
        yield f"{source} meta l4proto != {{ icmpv6, udp, 255 }} accept"


def _target(network: Network) -> str:
    """A match of the ND target with a prefix. Raw, because nft 1.0 has no name for that field."""
    value = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
    return f"@th,{_TARGET},{network.prefixlen} {value:#x}"
