"""Requests about network stacks, ports, filters and routers. Each Apply brings the object to the spec, repeatably."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import (
    Address,
    Checked,
    Count,
    Digest,
    DomainName,
    InterfaceAddress,
    InterfaceName,
    Mac,
    Mtu,
    Name,
    PortName,
    Prefix,
    ShortText,
    TransportPort,
    Vlan,
    Vni,
    word,
)

NETWORK_KINDS = ("isolated", "nat", "flat", "vlan", "vxlan")


@dataclass(frozen=True, kw_only=True)
class Subnet(Checked):
    """An address range of a network.

    own: the address of the network's own stack in it (DHCP and DNS server; the gateway of a nat network).
    gateway: what DHCP (IPv4) tells guests; for IPv6 a router advertisement is sent when advertise is set.
    ranges: dynamic addresses as (first, last); with dhcp and no range only static leases are served.
    advertise: "" no RA, "slaac", "stateless" (SLAAC + DHCPv6 options), "stateful" (DHCPv6 addresses).
    """

    prefix: Prefix
    own: Address | None = None
    gateway: Address | None = None
    dhcp: bool = True
    first: Address | None = None
    last: Address | None = None
    dns: tuple[Address, ...] = ()
    advertise: word("", "slaac", "stateless", "stateful") = ""  # type: ignore[valid-type]


@dataclass(frozen=True, kw_only=True)
class Lease(Checked):
    """A static lease: these addresses and this name for this MAC."""

    mac: Mac
    addresses: tuple[Address, ...]
    hostname: Name | None = None


@dataclass(frozen=True, kw_only=True)
class Neighbour(Checked):
    """A port on another host: who asks for one of these addresses (ARP, ND) is told this MAC."""

    mac: Mac
    addresses: tuple[Address, ...]


@dataclass(frozen=True, kw_only=True)
class Remote(Checked):
    """A VXLAN peer. For hosts that forward by a table and flood to one peer:

    macs: of ports known to be behind it. neighbours: ports behind it whose addresses this host answers for.
    """

    address: Address
    macs: tuple[Mac, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NetworkSpec(Checked):
    """A network: a stack of its own with a bridge, DHCP and DNS, and perhaps a way out.

    uplink: the host's interface for flat and vlan (must be in the policy's uplinks). host_address: an address of
    the host itself on this network (through a link pair), None for none. leases: static, of every port.
    """

    name: Name
    digest: Digest
    kind: word(*NETWORK_KINDS)  # type: ignore[valid-type]
    subnets: tuple[Subnet, ...] = ()
    leases: tuple[Lease, ...] = ()
    domain: DomainName = "skep.internal"
    forwarders: tuple[Address, ...] = ()
    mtu: Mtu = 1500
    uplink: InterfaceName | None = None
    vlan: Vlan | None = None
    vni: Vni | None = None
    local: Address | None = None
    remotes: tuple[Remote, ...] = ()
    host_address: InterfaceAddress | None = None
    nat_prefix: Prefix | None = None
    """Of a nat network: a /30 (outside every guest network) for the link between its stack and the host."""


@dataclass(frozen=True, kw_only=True)
class ApplyNetwork(Checked):
    network: NetworkSpec


@dataclass(frozen=True, kw_only=True)
class RemoveNetwork(Checked):
    """Remove a network's stack and all in it. Refused while a port or router leg is in it. Repeatable."""

    network: Name


@dataclass(frozen=True, kw_only=True)
class FilterRule(Checked):
    """One allowed flow (a security group rule). Everything not allowed is dropped, established flows pass.

    direction: as the guest sees it. protocol: "" any; icmp means ICMPv6 when family is ipv6.
    For icmp, first and last are type and code (-1: any); for tcp, udp, sctp a range of destination ports (-1: any).
    group: the other side is a member of this group (its addresses come by SetGroup) instead of a prefix.
    """

    direction: word("in", "out")  # type: ignore[valid-type]
    family: word("ipv4", "ipv6")  # type: ignore[valid-type]
    protocol: word("", "tcp", "udp", "icmp", "sctp") = ""  # type: ignore[valid-type]
    number: Count = 0
    """IP protocol number where `protocol` has no word for it; 0: not used."""
    first: int = -1
    last: int = -1
    remote: Prefix | None = None
    group: Name | None = None
    stateless: bool = False


@dataclass(frozen=True, kw_only=True)
class PortSpec(Checked):
    """A port: the tap, its guard and its rules.

    addresses: what the guest may use as source (its own; pairs adds further MAC/prefix pairs).
    guarded: whether the guard is on. filtered: whether rules apply (False: everything passes).
    digest: of the whole port; rules_digest: of the rules alone, so that a rule change touches nothing else.
    """

    name: PortName
    network: Name
    digest: Digest
    rules_digest: Digest
    mac: Mac
    guest: Name | None = None
    addresses: tuple[Address, ...] = ()
    pairs: tuple[AddressPair, ...] = ()
    guarded: bool = True
    filtered: bool = True
    rules: tuple[FilterRule, ...] = ()
    vlans: tuple[Vlan, ...] = ()
    """Tagged VLANs let into the guest (needs a VLAN-aware bridge)."""


@dataclass(frozen=True, kw_only=True)
class AddressPair(Checked):
    mac: Mac | None
    prefix: Prefix


@dataclass(frozen=True, kw_only=True)
class ApplyPort(Checked):
    """Make or change a port. Flows that stay allowed keep their state, flows no longer allowed end."""

    port: PortSpec


@dataclass(frozen=True, kw_only=True)
class RemovePort(Checked):
    port: PortName
    network: Name


@dataclass(frozen=True, kw_only=True)
class SetGroup(Checked):
    """The addresses of a remote group in one network; touches no port. An empty tuple removes it."""

    network: Name
    group: Name
    addresses: tuple[Prefix, ...]


@dataclass(frozen=True, kw_only=True)
class RouterLeg(Checked):
    """A leg of a router in a network. snat: traffic leaving here gets the leg's address."""

    network: Name
    addresses: tuple[InterfaceAddress, ...]
    mac: Mac
    snat: bool = False


@dataclass(frozen=True, kw_only=True)
class Route(Checked):
    prefix: Prefix
    via: Address


@dataclass(frozen=True, kw_only=True)
class FloatingAddress(Checked):
    """One-to-one NAT between an address on the snat leg and a guest's address."""

    outside: Address
    inside: Address


@dataclass(frozen=True, kw_only=True)
class PortForward(Checked):
    protocol: word("tcp", "udp")  # type: ignore[valid-type]
    outside: Address
    outside_port: TransportPort
    inside: Address
    inside_port: TransportPort


@dataclass(frozen=True, kw_only=True)
class RouterSpec(Checked):
    name: Name
    digest: Digest
    legs: tuple[RouterLeg, ...] = ()
    routes: tuple[Route, ...] = ()
    floating: tuple[FloatingAddress, ...] = ()
    forwards: tuple[PortForward, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ApplyRouter(Checked):
    router: RouterSpec


@dataclass(frozen=True, kw_only=True)
class RemoveRouter(Checked):
    router: Name


@dataclass(frozen=True, kw_only=True)
class ReadNetworks(Checked):
    """Answer: NetworkReading; a constant number of processes whatever the number of ports."""


@dataclass(frozen=True, kw_only=True)
class StackReading(Checked):
    """A network as it stands. digest is empty when a part of it is missing (named in `missing`)."""

    name: Name
    digest: str
    missing: ShortText = ""


@dataclass(frozen=True, kw_only=True)
class PortReading(Checked):
    name: PortName
    network: Name
    digest: str
    interface: InterfaceName
    up: bool = True


@dataclass(frozen=True, kw_only=True)
class GroupReading(Checked):
    network: Name
    group: Name
    addresses: tuple[Prefix, ...]


@dataclass(frozen=True, kw_only=True)
class NetworkReading(Checked):
    networks: tuple[StackReading, ...] = ()
    ports: tuple[PortReading, ...] = ()
    routers: tuple[StackReading, ...] = ()
    groups: tuple[GroupReading, ...] = ()
