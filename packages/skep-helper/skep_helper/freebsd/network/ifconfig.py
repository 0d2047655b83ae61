"""ifconfig(8): argv for each thing done to an interface, and what it shows. Pure functions."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

IFCONFIG = "/sbin/ifconfig"
ROUTE = "/sbin/route"
SILENT = ("-arp",)
"""For a bridge and its members: in a stack that has an address anywhere, each of them would answer ARP for it with a
MAC of its own, past the interface that has it."""


def create(kind: str, name: str, *options: str) -> list[str]:
    """Make an interface of a kind under a name. (When the name is taken, one with a number stays behind.)"""
    return [IFCONFIG, kind, "create", *options, "name", name]


def change(name: str, *words: str) -> list[str]:
    """Change an interface. "ether MAC" must come first: ifconfig takes the word for an address family."""
    return [IFCONFIG, name, *words]


def destroy(name: str) -> list[str]:
    return [IFCONFIG, name, "destroy"]


def move(name: str, jid: int) -> list[str]:
    """From the host into a jail's stack."""
    return [IFCONFIG, name, "vnet", str(jid)]


def take_back(name: str, jid: int) -> list[str]:
    return [IFCONFIG, name, "-vnet", str(jid)]


def add_member(bridge: str, name: str, *words: str) -> list[str]:
    return [IFCONFIG, bridge, "addm", name, *words]


def remove_members(bridge: str, names: Iterable[str]) -> list[str]:
    return [IFCONFIG, bridge, *(word for name in names for word in ("deletem", name))]


def add_address(name: str, address: str) -> list[str]:
    parsed = ipaddress.ip_interface(address)
    if parsed.version == 6:
        return [IFCONFIG, name, "inet6", str(parsed.ip), "prefixlen", str(parsed.network.prefixlen), "alias"]
    return [IFCONFIG, name, "inet", str(parsed), "alias"]


def remove_address(name: str, address: str) -> list[str]:
    parsed = ipaddress.ip_interface(address)
    return [IFCONFIG, name, "inet6" if parsed.version == 6 else "inet", str(parsed.ip), "-alias"]


def add_route(prefix: str, via: str) -> list[str]:
    return [ROUTE, "-n", "add", *_route(prefix), via]


def remove_route(prefix: str, via: str) -> list[str]:
    return [ROUTE, "-n", "delete", *_route(prefix), via]


def _route(prefix: str) -> list[str]:
    network = ipaddress.ip_network(prefix)
    target = ["-net", str(network)] if network.prefixlen else ["default"]
    return ["-inet6" if network.version == 6 else "-inet", *target]


@dataclass
class Interface:
    """An interface as ifconfig shows it. vlan: its tag and parent, if it is a vlan(4) that has them."""

    name: str
    flags: frozenset[str]
    mtu: int
    ether: str = ""
    description: str = ""
    groups: tuple[str, ...] = ()
    addresses: list[str] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    vlan: tuple[int, str] | None = None
    opened_by: int = 0

    @property
    def up(self) -> bool:
        return "UP" in self.flags


_HEAD = re.compile(r"(?P<name>\S.*?): flags=[0-9a-f]+<(?P<flags>[^>]*)>.* mtu (?P<mtu>\d+)")
_VLAN = re.compile(r"vlan: (?P<tag>\d+) .*parent interface: (?P<parent>\S+)")
_MASK = re.compile(r"inet (?P<address>[0-9.]+) (?:--> \S+ )?netmask (?P<mask>0x[0-9a-f]{8})")
_PREFIX = re.compile(r"inet6 (?P<address>[0-9a-f:.]+)(?:%\S+)? .*prefixlen (?P<length>\d+)")


def parse(text: str) -> dict[str, Interface]:
    """What `ifconfig -a` shows, by name. IPv6 link-local addresses are left out."""
    found: dict[str, Interface] = {}
    current: Interface | None = None
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head is not None:
            current = Interface(head["name"], frozenset(head["flags"].split(",")) - {""}, int(head["mtu"]))
            found[current.name] = current
        elif current is not None and line.startswith("\t"):
            _detail(current, line.strip())
    return found


def _detail(interface: Interface, line: str) -> None:
    word, _, rest = line.partition(" ")
    if word == "ether":
        interface.ether = rest.strip()
    elif word == "description:":
        interface.description = rest
    elif word == "groups:":
        interface.groups = tuple(rest.split())
    elif word == "member:":
        interface.members.append(rest.split(" flags=")[0])
    elif word == "Opened":
        interface.opened_by = int(rest.removeprefix("by PID "))
    elif match := _VLAN.match(line):
        interface.vlan = (int(match["tag"]), match["parent"]) if match["parent"] != "<none>" else None
    elif match := _MASK.match(line):
        length = int(match["mask"], 16).bit_count()
        interface.addresses.append(f"{match['address']}/{length}")
    elif (match := _PREFIX.match(line)) and not ipaddress.ip_address(match["address"]).is_link_local:
        interface.addresses.append(f"{match['address']}/{match['length']}")
