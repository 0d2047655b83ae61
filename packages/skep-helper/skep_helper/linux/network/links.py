"""Interfaces, addresses, routes and forwarding entries of one network stack, by rtnetlink."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import itertools
import socket
import struct
from dataclasses import dataclass

from . import namespaces, netlink
from .netlink import CREATE, EXCL, REPLACE, Netlink, NetlinkError, attribute, attributes, nested

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_PROTINFO, IFLA_STATS64, IFLA_LINKINFO, IFLA_NET_NS_FD, IFLA_AF_SPEC = 12, 23, 18, 28, 26
INFO_KIND, INFO_DATA = 1, 2
IFF_UP = 1
BRPORT_LEARNING, BRPORT_FLOOD = 8, 9
BRIDGE_VLAN_INFO = 2
ADDRESS_MODE_NONE, ADDRESS_MODE_EUI64 = 1, 0
NTF_SELF, NTF_MASTER = 2, 4
NUD_PERMANENT, NUD_NOARP = 0x80, 0x40
RT_TABLE_MAIN, PROTOCOL_STATIC, RTN_UNICAST = 254, 4, 1

_LINK = struct.Struct("=BxHiII")
_BYTES = struct.Struct("=16xQQ")
"""Of struct rtnl_link_stats64, after the packets."""
_ADDRESS = struct.Struct("=BBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_ROUTE = struct.Struct("=BBBBBBBBI")


@dataclass(frozen=True)
class Link:
    index: int
    name: str
    up: bool
    kind: str
    mtu: int
    mac: str
    master: int


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _number(value: bytes) -> int:
    return int.from_bytes(value[:4], "little")


def _kind(info: bytes) -> str:
    return attributes(info).get(INFO_KIND, b"").rstrip(b"\0").decode()


class Links:
    """The interfaces of the stack it was made in (``Links()`` in the thread that is there). Close after use.

    Methods raise NetlinkError. Those that add are repeatable: what exists is left, those that remove likewise.
    """

    def __init__(self) -> None:
        self._netlink = Netlink()
        self._indexes: dict[str, int] = {}

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *unused: object) -> None:
        self._netlink.__exit__()

    @staticmethod
    def of(namespace: int) -> Links:
        """The links of the namespace of this descriptor."""
        return namespaces.inside(namespace, Links)

    def all(self) -> dict[str, Link]:
        found = {}
        for message in self._netlink.dump(GETLINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, _, index, flags, _ = _LINK.unpack_from(message.body)
            values = attributes(message.body, _LINK.size)
            name = values[IFLA_IFNAME].rstrip(b"\0").decode()
            found[name] = Link(
                index=index,
                name=name,
                up=bool(flags & IFF_UP),
                kind=_kind(values.get(IFLA_LINKINFO, b"")),
                mtu=_number(values.get(IFLA_MTU, b"")),
                mac=values.get(IFLA_ADDRESS, b"").hex(":"),
                master=_number(values.get(IFLA_MASTER, b"")),
            )
        self._indexes = {name: link.index for name, link in found.items()}
        return found

    def counters(self) -> dict[str, tuple[int, int]]:
        """Bytes received and sent, by interface."""
        found = {}
        for message in self._netlink.dump(GETLINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            values = attributes(message.body, _LINK.size)
            name = values[IFLA_IFNAME].rstrip(b"\0").decode()
            found[name] = _BYTES.unpack_from(values.get(IFLA_STATS64, bytes(_BYTES.size)))
        return found

    def index(self, name: str) -> int:
        """Raises NetlinkError ENODEV when there is none."""
        if name not in self._indexes:
            self.all()
        if name not in self._indexes:
            raise NetlinkError(errno.ENODEV, f"no interface {name}")
        return self._indexes[name]

    def forget(self) -> None:
        """Remember no indexes: interfaces of this stack were removed from another one (as the ends of pairs are)."""
        self._indexes = {}

    def exists(self, name: str) -> bool:
        return name in self.all()

    def add(self, name: str, kind: str, *options: bytes, more: bytes = b"") -> bool:
        """Make an interface of a kind with kind-specific attributes; returns False when one of the name exists."""
        info = nested(IFLA_LINKINFO, attribute(INFO_KIND, kind), nested(INFO_DATA, *options))
        body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attribute(IFLA_IFNAME, name) + info + more
        try:
            self._netlink.request(NEWLINK, CREATE | EXCL, body)
        except NetlinkError as error:
            if error.errno == errno.EEXIST:
                return False
            raise
        return True

    def add_pair(self, name: str, peer: str, peer_namespace: int | None = None) -> bool:
        """A veth pair; the peer in another namespace when a descriptor of it is given."""
        there = b"" if peer_namespace is None else attribute(IFLA_NET_NS_FD, peer_namespace)
        header = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        return self.add(name, "veth", attribute(1, header + attribute(IFLA_IFNAME, peer) + there))

    def remove(self, name: str) -> None:
        with contextlib.suppress(NetlinkError):
            index = self.index(name)
            self._netlink.request(DELLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0))
        self._indexes.pop(name, None)

    def change(
        self, name: str, *, up: bool | None = None, mtu: int = 0, mac: str = "", master: str | None = None,
        link_local: bool | None = None,
    ) -> None:  # fmt: skip
        """Change what is given. master "": out of its bridge. link_local: whether IPv6 makes one of its own."""
        body = b""
        if mtu:
            body += attribute(IFLA_MTU, mtu)
        if mac:
            body += attribute(IFLA_ADDRESS, mac_bytes(mac))
        if master is not None:
            body += attribute(IFLA_MASTER, self.index(master) if master else 0)
        if link_local is not None:  # first and alone: coming up is what makes the address
            mode = ADDRESS_MODE_EUI64 if link_local else ADDRESS_MODE_NONE
            family = nested(IFLA_AF_SPEC, nested(socket.AF_INET6, attribute(8, bytes([mode]))))
            self._netlink.request(SETLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, self.index(name), 0, 0) + family)
        change = 0 if up is None else IFF_UP
        self._netlink.request(
            SETLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, self.index(name), IFF_UP if up else 0, change) + body
        )

    def set_bridge_port(self, name: str, *, learning: bool, flood: bool) -> None:
        """Whether a port learns addresses, and whether it gets unicast frames to unknown ones."""
        options = attribute(BRPORT_LEARNING, bytes([learning])) + attribute(BRPORT_FLOOD, bytes([flood]))
        header = _LINK.pack(socket.AF_BRIDGE, 0, self.index(name), 0, 0)
        self._netlink.request(SETLINK, 0, header + nested(IFLA_PROTINFO, options))

    def filter_vlans(self, name: str) -> None:
        """Make a bridge tell VLANs apart; untagged frames stay in its VLAN 1."""
        options = nested(IFLA_LINKINFO, attribute(INFO_KIND, "bridge"), nested(INFO_DATA, attribute(7, b"\1")))
        self._netlink.request(NEWLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, self.index(name), 0, 0) + options)

    def set_vlans(self, name: str, wanted: set[int]) -> None:
        """Let these tagged VLANs pass a bridge port and no other; VLAN 1, of untagged frames, stays."""
        borders = [1, *sorted(wanted), 4095]
        for low, high in itertools.pairwise(borders):
            if low + 1 < high:
                self._vlans(DELLINK, name, low + 1, high - 1)
        for vlan in sorted(wanted):
            self._vlans(SETLINK, name, vlan, vlan)

    def _vlans(self, message: int, name: str, first: int, last: int) -> None:
        begin, end = (0x8, 0x10) if first < last else (0, 0)  # a range is two attributes
        infos = attribute(BRIDGE_VLAN_INFO, struct.pack("=HH", begin, first))
        if first < last:
            infos += attribute(BRIDGE_VLAN_INFO, struct.pack("=HH", end, last))
        header = _LINK.pack(socket.AF_BRIDGE, 0, self.index(name), 0, 0)
        self._netlink.request(message, 0, header + nested(IFLA_AF_SPEC, infos))

    def add_forwarding(self, name: str, mac: str, *, remote: str | None = None) -> None:
        """A permanent entry: this MAC is behind that bridge port, or (remote) behind that vxlan peer."""
        # On a bridge, permanent would mean: an address of the bridge itself. Static is what NOARP says there.
        state, flags = (NUD_PERMANENT | NUD_NOARP, NTF_SELF) if remote else (NUD_NOARP, NTF_MASTER)
        header = _NEIGHBOUR.pack(socket.AF_BRIDGE, self.index(name), state, flags, 0)
        body = header + attribute(2, mac_bytes(mac))
        if remote:
            body += attribute(1, ipaddress.ip_address(remote).packed)
        # A vxlan may have many peers for one MAC (appended); a MAC is behind one bridge port (replaced).
        self._add(NEWNEIGH, CREATE | (netlink.APPEND if remote else REPLACE), body)

    def remove_forwarding(self, name: str, mac: str, *, remote: str | None = None) -> None:
        header = _NEIGHBOUR.pack(socket.AF_BRIDGE, self.index(name), 0, NTF_SELF if remote else NTF_MASTER, 0)
        body = header + attribute(2, mac_bytes(mac))
        if remote:
            body += attribute(1, ipaddress.ip_address(remote).packed)
        with contextlib.suppress(NetlinkError):
            self._netlink.request(DELNEIGH, 0, body)

    def forwarding(self, name: str) -> set[tuple[str, str]]:
        """The (MAC, remote or "") entries of an interface that were added, not learned and not its own."""
        index = self.index(name)
        found = set()
        for message in self._netlink.dump(GETNEIGH, _NEIGHBOUR.pack(socket.AF_BRIDGE, 0, 0, 0, 0)):
            _, entry, state, _, _ = _NEIGHBOUR.unpack_from(message.body)
            values = attributes(message.body, _NEIGHBOUR.size)
            if entry == index and (state == NUD_NOARP or (state & NUD_PERMANENT and 1 in values)):
                remote = str(ipaddress.ip_address(values[1])) if 1 in values else ""
                found.add((values[2].hex(":"), remote))
        return found

    def addresses(self, name: str) -> set[str]:
        """The addresses of an interface as ADDRESS/LENGTH, without IPv6 link-local ones."""
        index = self.index(name)
        found = set()
        for message in self._netlink.dump(GETADDR, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, length, _, _, owner = _ADDRESS.unpack_from(message.body)
            values = attributes(message.body, _ADDRESS.size)
            address = ipaddress.ip_address(values.get(2, values.get(1, b"")))
            if owner == index and not (address.version == 6 and address.is_link_local):
                found.add(f"{address}/{length}")
        return found

    def set_addresses(self, name: str, wanted: set[str]) -> None:
        """Add and remove until the interface has these ADDRESS/LENGTH (link-local ones are left alone)."""
        wanted = {str(ipaddress.ip_interface(address)) for address in wanted}
        standing = self.addresses(name)
        for address in standing - wanted:
            self._address(DELADDR, 0, name, address)
        for address in wanted - standing:
            self._address(NEWADDR, CREATE | REPLACE, name, address)

    def _address(self, message: int, flags: int, name: str, address: str) -> None:
        interface = ipaddress.ip_interface(address)
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        no_dad = 0x02 if interface.version == 6 else 0  # nobody else has it: it is configured, so use it at once
        header = _ADDRESS.pack(family, interface.network.prefixlen, no_dad, 0, self.index(name))
        packed = interface.ip.packed
        self._netlink.request(message, flags, header + attribute(2, packed) + attribute(1, packed))

    def routes(self) -> set[tuple[str, str]]:
        """The static (prefix, via) routes of the main table."""
        found = set()
        for message in self._netlink.dump(GETROUTE, _ROUTE.pack(socket.AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0)):
            family, length, _, _, table, protocol, _, _, _ = _ROUTE.unpack_from(message.body)
            values = attributes(message.body, _ROUTE.size)
            if table == RT_TABLE_MAIN and protocol == PROTOCOL_STATIC and 5 in values:
                default = bytes(4 if family == socket.AF_INET else 16)
                network = ipaddress.ip_network((values.get(1, default), length))
                found.add((str(network), str(ipaddress.ip_address(values[5]))))
        return found

    def set_routes(self, wanted: set[tuple[str, str]]) -> None:
        """Add and remove until the main table has these static (prefix, via) routes and no other."""
        wanted = {(str(ipaddress.ip_network(prefix)), str(ipaddress.ip_address(via))) for prefix, via in wanted}
        standing = self.routes()
        for prefix, via in standing - wanted:
            self._netlink.request(DELROUTE, 0, _route(prefix, via))
        for prefix, via in wanted - standing:
            self._netlink.request(NEWROUTE, CREATE | REPLACE, _route(prefix, via))

    def _add(self, message: int, flags: int, body: bytes) -> None:
        try:
            self._netlink.request(message, flags, body)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise


def _route(prefix: str, via: str) -> bytes:
    network = ipaddress.ip_network(prefix)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    header = _ROUTE.pack(family, network.prefixlen, 0, 0, RT_TABLE_MAIN, PROTOCOL_STATIC, 0, RTN_UNICAST, 0)
    return header + attribute(1, network.network_address.packed) + attribute(5, ipaddress.ip_address(via).packed)
