"""vm-bhyve's switches (system.conf) as networks.

Keys as in lib/vm-switch-* of vm-bhyve 1.7: NAME in switch_list, type_NAME, ports_NAME, vlan_NAME, addr_NAME,
addr6_NAME, mtu_NAME, private_NAME, bridge_NAME.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

from skepd.model.definitions import validate
from skepd.model.errors import DefinitionError
from skepd.model.names import Manager
from skepd.model.network_checks import check_network
from skepd.model.objects import Network, Subnet

from .conf import Conf
from .findings import Finding
from .vm_bhyve import number

Found = tuple[Network | None, tuple[Finding, ...]]


def slug(name: str) -> str:
    """A name as Skep has them, nearest to this one; "" when nothing is left of it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:63].strip("-")


def switches(system: Conf) -> tuple[str, ...]:
    return tuple(system.get("switch_list").split())


def convert_switch(name: str, system: Conf) -> Found:
    """The network of a switch; None with refusing findings when Skep has no equal of it."""
    if name not in switches(system):
        text = f'there is no switch "{name}": its cards are connected to nothing; {_advice(name)}'
        return None, (Finding(system.place("switch_list"), text, refuses=True),)
    kind = system.get(f"type_{name}", "standard")
    makers: dict[str, Callable[[str, Conf], Iterator[Network | Finding]]] = {"standard": _standard, "manual": _manual}
    maker = makers.get(kind, _other)
    found = list(maker(name, system))
    found += list(_problems(name, system, found))
    if system.yes(f"private_{name}"):
        text = f"switch {name} keeps its guests apart (private), which a network does by filters; {_advice(name)}"
        found.append(Finding(system.place(f"private_{name}"), text, refuses=True))
    findings = tuple(item for item in found if isinstance(item, Finding))
    networks = [item for item in found if isinstance(item, Network)]
    refused = any(item.refuses for item in findings)
    return (None if refused or not networks else networks[0]), findings


def _problems(name: str, system: Conf, found: list[Network | Finding]) -> Iterator[Finding]:
    """What the model does not accept: addresses, MTU, VLAN and names of interfaces are anybody's text."""
    for network in found:
        if isinstance(network, Network):
            problems: list[DefinitionError] = []
            try:
                validate(network)
                problems += check_network(network)
            except DefinitionError as error:
                problems += error.errors
            for problem in problems:
                text = f"switch {name} makes no network: {problem.problem}; {_advice(name)}"
                yield Finding(system.place(f"type_{name}"), text, refuses=True)


def _advice(name: str) -> str:
    return f"make a network in Skep and say --network {name}=NETWORK"


def _standard(name: str, system: Conf) -> Iterator[Network | Finding]:
    ports = system.get(f"ports_{name}").split()
    place = system.place(f"ports_{name}")
    if len(ports) > 1:
        text = f"switch {name} has the ports {', '.join(ports)}, a network has one uplink; {_advice(name)}"
        yield Finding(place, text, refuses=True)
        return
    vlan = number(system.get(f"vlan_{name}"))
    mtu = number(system.get(f"mtu_{name}")) or 1500
    address = system.get(f"addr_{name}") or system.get(f"addr6_{name}") or None
    kind = "isolated" if not ports else "vlan" if vlan else "flat"
    yield Network(
        name=slug(name), manager=Manager.USER, kind=kind, mtu=mtu, host_address=address, subnets=_subnets(address),
        uplink=ports[0] if ports else None, vlan=vlan or None if ports else None,
    )  # fmt: skip
    if ports and not vlan:
        text = f"{ports[0]} can be in one bridge only: take it out of vm-bhyve's ({_leave(name, ports[0])})"
        yield Finding(place, f"{text} once no guest of vm-bhyve needs it there, before the first guest is started")
    if system.get(f"addr_{name}") and system.get(f"addr6_{name}"):
        text = f"the host keeps one address in a network; {system.get(f'addr6_{name}')} is not carried over"
        yield Finding(system.place(f"addr6_{name}"), text)
    if address:
        text = f"the host's address {address} is vm-bhyve's until its switch is gone: vm switch destroy {name}"
        yield Finding(system.place(f"addr_{name}"), f"{text}; filter rules for its interface stay yours to change")


def _subnets(address: str | None) -> tuple[Subnet, ...]:
    """Of the host's address, without DHCP: vm-bhyve serves none, so that somebody else may."""
    try:
        return (Subnet(prefix=str(ipaddress.ip_interface(address).network), dhcp=False),) if address else ()
    except ValueError:
        return ()  # the address itself is told


def _leave(name: str, port: str) -> str:
    return f"vm switch remove {name} {port}"


def _manual(name: str, system: Conf) -> Iterator[Network | Finding]:
    bridge = system.get(f"bridge_{name}")
    if bridge:
        yield Network(name=slug(name), manager=Manager.USER, kind="flat", uplink=bridge)
    else:
        text = f"switch {name} names no bridge; {_advice(name)}"
        yield Finding(system.place(f"type_{name}"), text, refuses=True)


def _other(name: str, system: Conf) -> Iterator[Network | Finding]:
    kind = system.get(f"type_{name}")
    reason = {
        "vxlan": "finds the other hosts by multicast, and Skep's networks name them (remotes)",
        "vale": "is a VALE switch, which Skep does not use",
        "netgraph": "is a netgraph bridge, which Skep does not use",
    }.get(kind, f"is of the kind {kind!r:.40}, which Skep does not know")
    yield Finding(system.place(f"type_{name}"), f"switch {name} {reason}; {_advice(name)}", refuses=True)
