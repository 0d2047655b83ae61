"""Names and paths of everything the network part makes: one place, so that nothing else is ever taken for ours.

A network's stack is the jail ``skep_n_NAME``, a router's ``skep_r_NAME`` (a name has no underscore, so they never
meet; jail names must have no dot). Every interface that is made on the host keeps its generated name wherever it is
moved: when a jail ends, what was moved into it comes back to the host, and two interfaces of one name could then stand
there. All end in a digit, or pf would take them for groups. What is made inside a jail has fixed names.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ...policy import Policy

BRIDGE = "bridge0"
OWN = "gw0"
"""The network's own interface: its addresses, DHCP, DNS. Linked to the bridge by OWN_PORT, so that what it exchanges
with a guest is bridged from port to port and passes the guest's filter both ways (what an address of the bridge itself
exchanges would be seen on the guest's tap in one direction only, and pf would lose track of it)."""
OWN_PORT = "gwport0"
INTERFACE_NAME_LENGTH = 15


def network_jail(network: str) -> str:
    return f"skep_n_{network}"


def router_jail(router: str) -> str:
    return f"skep_r_{router}"


def generated(prefix: str, letter: str, *parts: str) -> str:
    """An interface name of at most 15 characters that ends in a digit, always the same for the same parts."""
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"{prefix[:4]}{letter}{digest[:9]}0"


def is_ours(policy: Policy, interface: str) -> bool:
    """Whether an interface of the host has a name that is generated here; the prefix alone may begin others' too (the
    driver sk(4) has an sk0)."""
    return re.fullmatch(f"{re.escape(policy.interface_prefix)}[a-zA-Z][0-9a-f]{{9}}0", interface) is not None


def tap(policy: Policy, port: str) -> str:
    return generated(policy.interface_prefix, "p", port)


def link(policy: Policy, network: str, purpose: str) -> tuple[str, str]:
    """(host's end, network's end) of a link pair. purpose: n (nat), h (the host's address), u (uplink)."""
    prefix = policy.interface_prefix
    return generated(prefix, purpose, network), generated(prefix, purpose.upper(), network)


def vlan(policy: Policy, network: str) -> str:
    """A vlan(4) that is moved into the network's stack."""
    return generated(policy.interface_prefix, "v", network)


def vxlan(policy: Policy, network: str) -> str:
    return generated(policy.interface_prefix, "x", network)


def host_bridge(policy: Policy, network: str) -> str:
    """The host's bridge between an uplink that stays on the host and the link pair into the network's stack."""
    return generated(policy.interface_prefix, "b", network)


def leg(policy: Policy, router: str, network: str) -> tuple[str, str]:
    """(the network's end, the router's end) of a router's leg."""
    prefix = policy.interface_prefix
    return generated(prefix, "r", router, network), generated(prefix, "R", router, network)


def mac(*parts: str) -> str:
    """A locally administered MAC address, always the same for the same parts (those that epair(4) makes up can meet
    between stacks)."""
    digest = hashlib.sha256("\0".join(("mac", *parts)).encode()).digest()
    return bytes([0x02, *digest[:5]]).hex(":")


def state_folder(policy: Policy) -> Path:
    return policy.run / "networks"
