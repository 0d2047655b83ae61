"""Addresses of the host in rc.conf(5), and small comparisons that its lines need. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from skepd.model.site import HostPart

from .wants import RC, Interface, Setting


def variable(interface: str) -> str:
    """An interface's name within a variable's: what a shell's name cannot have is an underscore there."""
    return "".join("_" if sign in ".-/+" else sign for sign in interface)


def lines(part: HostPart) -> Iterator[Setting | Interface]:
    """Addresses of the host's interfaces, and its way out."""
    of: dict[str, list[str]] = {}
    management = part.host.management
    if management is not None and management.address:
        of[management.interface] = [management.address]
    for vlan in part.vlans.values():
        known = of.setdefault(vlan.name, [])
        known += [address for address in vlan.addresses if address not in known]
    for interface, addresses in of.items():
        yield from _of_interface(interface, addresses)
    if management is not None and management.gateway:
        six = ":" in management.gateway
        name = "ipv6_defaultrouter" if six else "defaultrouter"
        yield Setting(RC, name, management.gateway, "the way out of the management network")


def _of_interface(interface: str, addresses: list[str]) -> Iterator[Setting | Interface]:
    name, reason = f"ifconfig_{variable(interface)}", f"addresses of the host on {interface}"
    four = [address for address in addresses if ipaddress.ip_interface(address).version == 4]
    six = [address for address in addresses if address not in four]
    yield Interface(name, ("up",), reason, f"inet {four[0]}" if four else "")
    if six:
        yield Interface(f"{name}_ipv6", (), reason, f"inet6 {six[0]}")
    more = [f"inet {address}" for address in four[1:]] + [f"inet6 {address}" for address in six[1:]]
    for number, text in enumerate(more):
        yield Setting(RC, f"{name}_alias{number}", text, reason)


def same_host(there: str, wanted: str) -> bool:
    """A host may be called by its full name."""
    return there.split(".")[0] == wanted


def at_least(there: str, wanted: str) -> bool:
    """A number that is larger does as well."""
    return there.isdigit() and int(there) >= int(wanted)


def wrong_dataset(properties: Mapping[str, str] | None, mountpoint: str, name: str) -> str:
    """What is to be done about a dataset that is there, but not as it must be; "" when it is not there."""
    if properties is None:
        return ""
    wanted = {"mountpoint": mountpoint, "volmode": "dev"}
    wrong = [f"{key}={value}" for key, value in wanted.items() if properties.get(key) != value]
    return f"it is there with other properties: zfs set {' '.join(wrong)} {name}"
