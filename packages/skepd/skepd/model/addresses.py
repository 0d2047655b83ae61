"""Address types, in one spelling each, and subnet defaults."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .objects import Subnet
from .schema import Place, shown
from .types import ADDRESS

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# The same few texts are looked at again in every pass.
address = lru_cache(maxsize=65_536)(ipaddress.ip_address)
network = lru_cache(maxsize=65_536)(ipaddress.ip_network)


@dataclass(frozen=True)
class Address:
    """An IPv4 or IPv6 address; kept in its canonical spelling. none: whether "none" may be written."""

    none: bool = False
    name: str = "address"

    def read(self, value: Any, place: Place) -> str:
        if self.none and value == "none":
            return "none"
        return str(address(ADDRESS.read(value, place)))

    def write(self, value: Any) -> Any:
        return value


@dataclass(frozen=True)
class Prefix:
    """An IPv4 or IPv6 prefix without host bits; an address alone is a prefix of that one address."""

    name: str = "prefix"

    def read(self, value: Any, place: Place) -> str:
        hint = 'write e.g. "10.0.0.0/24" or "fd00:1::/64"'
        if not isinstance(value, str) or len(value) > 64 or "%" in value:
            raise place.error(f"{shown(value)} is not a prefix", hint)
        try:
            return str(ipaddress.ip_network(value))
        except ValueError:
            pass
        try:
            meant = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise place.error(f"{shown(value)} is not a prefix", hint) from None
        raise place.error(f"{shown(value)} has bits after its prefix length", f'write "{meant}"')

    def write(self, value: Any) -> Any:
        return value


@dataclass(frozen=True)
class InterfaceAddress:
    """An address with prefix length, as an interface has it."""

    name: str = "address/length"

    def read(self, value: Any, place: Place) -> str:
        hint = 'write an address with prefix length, e.g. "10.0.0.2/24"'
        if not isinstance(value, str) or "/" not in value or len(value) > 64 or "%" in value:
            raise place.error(f"{shown(value)} is not an address with prefix length", hint)
        try:
            return str(ipaddress.ip_interface(value))
        except ValueError:
            raise place.error(f"{shown(value)} is not an address with prefix length", hint) from None

    def write(self, value: Any) -> Any:
        return value


def first_host(prefix: str) -> str | None:
    """The first address of a prefix that a host may have; None when the prefix is too small for one of its own."""
    net = network(prefix)
    return str(net.network_address + 1) if net.num_addresses > 2 else None


def complete_subnet(
    kind: str, prefix: str, *, dhcp: bool | None = None, own: str | None = None, gateway: str | None = None, **more: Any
) -> Subnet:
    """A subnet with what its network's kind makes the default. own, gateway: "none" for none at all.

    isolated and nat: DHCP, the first host address as the network's own. nat: the gateway is that address. Other kinds
    share their wire with other machines: nothing is served there unless asked for.
    """
    served = kind in ("isolated", "nat")
    dhcp = served if dhcp is None else dhcp
    own = own or (first_host(prefix) if served and (dhcp or kind == "nat") else None)
    own = None if own == "none" else own
    gateway = gateway or (own if kind == "nat" else None)
    return Subnet(prefix=prefix, own=own, gateway=None if gateway == "none" else gateway, dhcp=dhcp, **more)
