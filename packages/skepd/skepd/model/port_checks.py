"""Checks of ports: what they refer to, and that no two have one MAC address or one address."""

from __future__ import annotations

from collections.abc import Mapping

from .desired import Desired
from .errors import nearest
from .faults import Faults, fault
from .macs import mac_of
from .names import Kind
from .network_checks import in_range, is_host_address
from .objects import Network, Port

Taken = Mapping[tuple[str, str], str]
"""(network, address) -> who has it, in words."""


def check_ports(desired: Desired) -> Faults:
    """All ports of a host."""
    yield from _references(desired)
    yield from _connections(desired)
    yield from _macs(desired)
    yield from _addresses(desired)


def _references(desired: Desired) -> Faults:
    for port in desired.ports.values():
        if port.network not in desired.networks:
            hint = nearest(port.network, desired.networks, "network")
            yield fault(Kind.PORT, port.name, ("network",), f'there is no network "{port.network}"', hint)
        for number, name in enumerate(port.filters):
            if name not in desired.filters:
                hint = nearest(name, desired.filters, "filter")
                yield fault(Kind.PORT, port.name, ("filters", number), f'there is no filter "{name}"', hint)
        if port.guest is not None and port.guest not in desired.guests:
            hint = nearest(port.guest, desired.guests, "guest")
            yield fault(Kind.PORT, port.name, ("guest",), f'there is no guest "{port.guest}"', hint)
    for value in desired.filters.values():
        for rule in value.rules:
            if rule.group is not None and rule.group not in desired.filters:
                hint = nearest(rule.group, desired.filters, "filter")
                problem = f'there is no filter "{rule.group}", which a rule names'
                yield fault(Kind.FILTER, value.name, ("rules",), problem, hint)


def _connections(desired: Desired) -> Faults:
    """Cards and ports: every card's port exists, belongs to that guest, and is that of one card only."""
    users: dict[str, str] = {}
    for guest in desired.guests.values():
        for number, nic in enumerate(guest.nics):
            path = ("nic", number, "port")
            port = desired.ports.get(nic.port)
            if port is None:
                hint = nearest(nic.port, desired.ports, "port")
                yield fault(Kind.GUEST, guest.name, path, f'there is no port "{nic.port}"', hint)
                continue
            user = users.setdefault(nic.port, guest.name)
            if user != guest.name:
                problem = f'the port "{nic.port}" is that of guest {user} already'
                yield fault(Kind.GUEST, guest.name, path, problem, "write a port of its own")
            elif port.guest not in (None, guest.name):
                problem = f'the port "{nic.port}" is meant for guest {port.guest}'
                yield fault(Kind.GUEST, guest.name, path, problem, f'write guest = "{guest.name}" at the port')


def _macs(desired: Desired) -> Faults:
    seen: dict[str, Port] = {}
    for port in desired.ports.values():
        mac = mac_of(port)
        other = seen.setdefault(mac, port)
        if other is not port:
            hint = "write another, or leave it out: then it is derived from the port's name"
            hint = hint if port.mac else 'write mac = "02:..." with digits of your own'
            yield fault(
                Kind.PORT, port.name, ("mac",), f"the port {other.name} has the MAC address {mac} already", hint
            )


def _addresses(desired: Desired) -> Faults:
    taken = dict(own_addresses(desired))
    for port in desired.ports.values():
        network = desired.networks.get(port.network)
        for number, text in enumerate(port.addresses):
            path = ("addresses", number)
            holder = taken.setdefault((port.network, text), f"port {port.name}")
            if holder != f"port {port.name}":
                problem = f"{text} is the address of {holder} already"
                yield fault(Kind.PORT, port.name, path, problem, "write an address that is free")
            elif network is not None:
                yield from _in_subnet(port, network, path, text)


def own_addresses(desired: Desired) -> Taken:
    """What networks and the host hold. A gateway that is not the network's own may be a guest or a router."""
    taken: dict[tuple[str, str], str] = {}
    for network in desired.networks.values():
        for subnet in network.subnets:
            if subnet.own:
                taken[network.name, subnet.own] = f"the network {network.name} itself"
        if network.host_address:
            taken.setdefault((network.name, network.host_address.split("/")[0]), "the host")
    return taken


def _in_subnet(port: Port, network: Network, path: tuple[str | int, ...], text: str) -> Faults:
    # A network without subnets knows nothing of addresses.
    if not network.subnets:
        return
    subnet = next((subnet for subnet in network.subnets if is_host_address(text, subnet.prefix)), None)
    if subnet is None:
        prefixes = ", ".join(subnet.prefix for subnet in network.subnets)
        problem = f"{text} is no host's address in a subnet of the network {network.name}"
        yield fault(Kind.PORT, port.name, path, problem, f"write an address of {prefixes}")
    elif in_range(text, subnet):
        problem = f"{text} lies in the range of dynamic addresses {subnet.first} to {subnet.last}"
        yield fault(Kind.PORT, port.name, path, problem, "write an address outside of it, or a smaller range")
