"""Checks of networks by themselves, and of networks that would share a wire."""

from __future__ import annotations

from collections.abc import Iterable

from .addresses import address, network
from .faults import Faults, fault
from .names import Kind
from .objects import Network, Subnet

_NEEDS = {"flat": ("uplink",), "vlan": ("uplink", "vlan"), "vxlan": ("vni", "local")}
_ALLOWS = {"vxlan": ("vni", "local", "remotes")}
_EXAMPLES = {"uplink": 'uplink = "igb0"', "vlan": "vlan = 12", "vni": "vni = 5001", "local": 'local = "192.0.2.1"'}


def check_network(value: Network) -> Faults:
    """Kind, subnets and addresses of one network."""
    yield from _kind(value)
    if value.kind == "nat" and not any(subnet.own for subnet in value.subnets):
        problem = "a nat network needs a subnet with an address of its own: that is its gateway"
        yield fault(Kind.NETWORK, value.name, ("subnet",), problem, 'write e.g. subnet = "10.77.0.0/24"')
    if value.mtu < 1280 and any(":" in subnet.prefix for subnet in value.subnets):
        yield fault(Kind.NETWORK, value.name, ("mtu",), f"{value.mtu} is too small for IPv6", "write at least 1280")
    for number, subnet in enumerate(value.subnets):
        yield from _subnet(value, number, subnet)
        for other in value.subnets[:number]:
            if _overlap(subnet.prefix, other.prefix):
                problem = f"the subnets {other.prefix} and {subnet.prefix} overlap"
                hint = "write prefixes that have no address in common"
                yield fault(Kind.NETWORK, value.name, ("subnet", number, "prefix"), problem, hint)
    if value.host_address:
        yield from _host_address(value, value.host_address)


def _overlap(first: str, second: str) -> bool:
    one, other = network(first), network(second)
    return one.version == other.version and one.overlaps(other)


def _kind(value: Network) -> Faults:
    needs = _NEEDS.get(value.kind, ())
    for key in needs:
        if getattr(value, key) is None:
            problem = f"a network of kind {value.kind} needs {key}"
            yield fault(Kind.NETWORK, value.name, (), problem, f"write e.g. {_EXAMPLES[key]}")
    for key in ("uplink", "vlan", "vni", "local", "remotes"):
        if getattr(value, key) not in (None, ()) and key not in _ALLOWS.get(value.kind, needs):
            kinds = [kind for kind in _NEEDS if key in _ALLOWS.get(kind, _NEEDS[kind])]
            problem = f"a network of kind {value.kind} has no {key}"
            hint = f'leave it out, or write kind = "{kinds[-1]}"'
            yield fault(Kind.NETWORK, value.name, (key,), problem, hint)
    if value.local:
        for number, remote in enumerate(value.remotes):
            if address(remote).version != address(value.local).version or remote == value.local:
                problem = f"{remote} cannot be a remote of {value.local}"
                hint = "write the other hosts' addresses, all IPv4 or all IPv6"
                yield fault(Kind.NETWORK, value.name, ("remotes", number), problem, hint)


def is_host_address(text: str, prefix: str) -> bool:
    """Whether a host may have this address in a subnet: not its first (both families) and not IPv4's last."""
    net, one = network(prefix), address(text)
    if one not in net:
        return False
    if net.num_addresses <= 2:
        return True
    return one != net.network_address and (net.version == 6 or one != net.broadcast_address)


def in_range(text: str, subnet: Subnet) -> bool:
    """Whether an address is one of the dynamic ones."""
    if subnet.first is None or subnet.last is None or (":" in text) != (":" in subnet.first):
        return False
    # The same family, so that integers compare as addresses do.
    return int(address(subnet.first)) <= int(address(text)) <= int(address(subnet.last))


def _subnet(value: Network, number: int, subnet: Subnet) -> Faults:
    def wrong(key: str, problem: str, hint: str) -> Faults:
        yield fault(Kind.NETWORK, value.name, ("subnet", number, key), problem, hint)

    for key in ("own", "gateway", "first", "last"):
        text = getattr(subnet, key)
        if text and not is_host_address(text, subnet.prefix):
            yield from wrong(key, f"{key} = {text} is no host's address in {subnet.prefix}", _within(subnet.prefix))
    if (subnet.first is None) != (subnet.last is None):
        yield from wrong("first", "a range needs first and last", "write both, or none")
    elif subnet.first and subnet.last:
        yield from _range(value, number, subnet)
    if subnet.dhcp and subnet.own is None:
        yield from wrong("dhcp", "DHCP needs an address of the network's own", "write own = ..., or dhcp = false")
    if subnet.advertise and ":" not in subnet.prefix:
        yield from wrong("advertise", "routers are advertised in IPv6 only", "leave it out")
    elif subnet.advertise and subnet.own is None:
        yield from wrong("advertise", "advertising needs an address of the network's own", "write own = ...")
    if subnet.advertise == "slaac" and network(subnet.prefix).prefixlen != 64:
        yield from wrong("advertise", "SLAAC works with prefixes of length 64 only", 'write "stateful"')


def _within(prefix: str) -> str:
    net = network(prefix)
    if net.num_addresses <= 2:
        return f"write an address of {prefix}"
    last = net.network_address + (net.num_addresses - (2 if net.version == 4 else 1))
    return f"write an address from {net.network_address + 1} to {last}"


def _range(value: Network, number: int, subnet: Subnet) -> Faults:
    first, last = subnet.first or "", subnet.last or ""
    path = ("subnet", number, "first")
    if (":" in first) != (":" in last) or int(address(first)) > int(address(last)):
        problem = f"the range {first} to {last} is empty"
        yield fault(Kind.NETWORK, value.name, path, problem, "write the lower address as first")
    if not subnet.dhcp:
        problem = "a range of dynamic addresses needs DHCP"
        yield fault(Kind.NETWORK, value.name, path, problem, "write dhcp = true, or leave out first and last")
    for key in ("own", "gateway"):
        text = getattr(subnet, key)
        if text and in_range(text, subnet):
            problem = f"the range {first} to {last} has the {key} address {text} in it"
            yield fault(Kind.NETWORK, value.name, path, problem, f"write a range without {text}")


def _host_address(value: Network, text: str) -> Faults:
    alone, length = text.split("/")
    for subnet in value.subnets:
        if not is_host_address(alone, subnet.prefix):
            continue
        problem = ""
        if alone in (subnet.own, subnet.gateway):
            problem = f"the host's address {alone} is that of the network itself or its gateway"
        elif in_range(alone, subnet):
            problem = f"the host's address {alone} lies in the range of dynamic addresses"
        if problem:
            yield fault(Kind.NETWORK, value.name, ("host-address",), problem, "write another address")
        elif length != subnet.prefix.split("/")[1]:
            hint = f'write "{alone}/{subnet.prefix.split("/")[1]}"'
            problem = f"the host's address has another prefix length than {subnet.prefix}"
            yield fault(Kind.NETWORK, value.name, ("host-address",), problem, hint)
        return
    known = ", ".join(subnet.prefix for subnet in value.subnets) or "a subnet, which must be written first"
    problem = f"the host's address {text} is in no subnet of the network"
    yield fault(Kind.NETWORK, value.name, ("host-address",), problem, f"write a host's address of {known}")


def check_wires(networks: Iterable[Network]) -> Faults:
    """Two networks on the same uplink, VLAN or VNI: each would see the other's frames."""
    seen: dict[tuple[str | None, int], str] = {}
    for value in networks:
        wire: tuple[str | None, int]
        if value.kind == "vxlan" and value.vni is not None:
            wire, key, text = (None, value.vni), "vni", f"VNI {value.vni}"
        elif value.kind == "vlan" and value.uplink and value.vlan is not None:
            wire, key, text = (value.uplink, value.vlan), "vlan", f"VLAN {value.vlan} of {value.uplink}"
        elif value.kind == "flat" and value.uplink:
            wire, key, text = (value.uplink, 0), "uplink", f"the uplink {value.uplink}"
        else:
            continue
        other = seen.setdefault(wire, value.name)
        if other != value.name:
            problem = f"the network {other} is on {text} already"
            yield fault(Kind.NETWORK, value.name, (key,), problem, f'use the network "{other}", or write another {key}')
