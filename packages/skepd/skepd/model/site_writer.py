"""Writing site.toml: a running host as the text that would make it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import toml
from .desired import Desired
from .names import Kind
from .objects import Guest, Network, Nic, Port, Subnet
from .schema import Key, Section, write_section
from .sections import DEFINITIONS, GUEST_KEYS, NETWORK_KEYS, NIC, PORT_KEYS, SUBNET
from .site import HostPart
from .site_sections import HOST, NAMED_SECTIONS, STORAGE


def render_site(desired: Desired, host_part: HostPart) -> str:
    """The text of a site; parse_site gives both back (every object as the site's own). Order: hosts, images, filters,
    networks, routers, ports, guests, schedules; each as given.

    Defaults are written out where they depend on something else, so that the text stands by itself.
    """
    out: dict[str, Any] = {"host": write_section(HOST, host_part.host)}
    storage = write_section(STORAGE, host_part.storage)
    if storage:
        out["storage"] = storage
    nested = _nested_ports(desired)
    parts: dict[str, Mapping[str, Any]] = {
        "uplink": host_part.uplinks,
        "vlan": host_part.vlans,
        "user": host_part.users,
        "image": desired.images,
        "filter": desired.filters,
        "network": desired.networks,
        "router": desired.routers,
        "port": {name: port for name, port in desired.ports.items() if name not in nested},
        "guest": desired.guests,
        "schedule": host_part.schedules,
        "replication": host_part.replications,
    }
    for name, values in parts.items():
        if values:
            out[name] = {key: _entry(name, value, desired, nested) for key, value in values.items()}
    return toml.dumps(out)


def _entry(kind: str, value: Any, desired: Desired, nested: Mapping[str, str]) -> dict[str, Any]:
    if isinstance(value, Guest):
        out = _write(GUEST_KEYS, value, "nic")
        nics = [_nic(value, nic, number, desired, nested) for number, nic in enumerate(value.nics)]
        return out | ({"nic": nics} if nics else {})
    if isinstance(value, Network):
        out = _write(NETWORK_KEYS, value, "subnet")
        return out | ({"subnet": [_subnet(value.kind, subnet) for subnet in value.subnets]} if value.subnets else {})
    if kind in list(Kind):
        section = DEFINITIONS[Kind(kind)]
        return _write(section.keys, value, "name", "manager")
    return write_section(NAMED_SECTIONS[kind][0], value)


def _write(keys: tuple[Key, ...], value: Any, *without: str) -> dict[str, Any]:
    kept = tuple(key for key in keys if key.name not in without)
    return write_section(Section(title="", build=dict, keys=kept), value)


def _nested_ports(desired: Desired) -> dict[str, str]:
    """Ports that a guest's [[nic]] can describe (port -> name of the card): named after it, and of that guest."""
    nested: dict[str, str] = {}
    for guest in desired.guests.values():
        for nic in guest.nics:
            port = desired.ports.get(nic.port)
            owner, _, name = nic.port.partition(".")
            if port and port.guest == owner == guest.name and name:
                nested[nic.port] = name
    return nested


def _nic(guest: Guest, nic: Nic, number: int, desired: Desired, nested: Mapping[str, str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if nic.port not in nested:
        others = {nested.get(other.port) for other in guest.nics}
        # Its number is its name, unless another card took that.
        if str(number) in others:
            out["name"] = next(f"nic{free}" for free in range(len(others) + 1) if f"nic{free}" not in others)
        return out | {"port": nic.port} | _write(NIC.keys[1:], nic)
    if nested[nic.port] != str(number):
        out["name"] = nested[nic.port]
    port: Port = desired.ports[nic.port]
    return out | _write(NIC.keys[1:], nic) | _write(PORT_KEYS, port)


def _subnet(kind: str, subnet: Subnet) -> dict[str, Any]:
    """A subnet, with what its network's kind would fill in differently written out."""
    written = _write(SUBNET.keys, subnet, "own", "gateway", "dhcp")
    served = kind in ("isolated", "nat")
    out: dict[str, Any] = {"prefix": written.pop("prefix"), "own": subnet.own or "none"}
    if subnet.gateway is not None or kind == "nat":
        out["gateway"] = subnet.gateway or "none"
    if not served and subnet.own is None:
        del out["own"]
    if subnet.dhcp != served:
        out["dhcp"] = subnet.dhcp
    return out | written
