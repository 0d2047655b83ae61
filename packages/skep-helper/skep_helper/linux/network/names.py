"""Names and paths of everything the network part makes: one place, so that nothing else is ever taken for ours.

A network's stack is the namespace ``skep-NAME``, a router's ``skep-r.NAME`` (no network can be called that, for a
name has no dot). Interfaces in the host's own stack begin with the policy's prefix; those inside a namespace that we
made have fixed names.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ...policy import Policy

BRIDGE = "br0"
OWN = "gw0"
"""The network's own interface: its addresses, DHCP, DNS. Linked to the bridge by OWN_PORT, so that what it sends
to a guest is bridged from port to port and passes the same filter as everything else."""
OWN_PORT = "gw0-br"
WAY_OUT = "up0"
"""The namespace's end of a nat network's link to the host."""
UPLINK = "uplink0"
"""What a flat, vlan or vxlan network has in its bridge."""
HOST_PORT = "host0"
"""The bridge's end of the link to the host's own address on the network."""
TABLE = "skep"
"""Every nft table that Skep makes, in any family and stack, is called this."""

NAMESPACES = Path("/run/netns")
INTERFACE_NAME_LENGTH = 15


def network_namespace(network: str) -> str:
    return f"skep-{network}"


def router_namespace(router: str) -> str:
    return f"skep-r.{router}"


def generated(prefix: str, letter: str, *parts: str) -> str:
    """An interface name of at most 15 characters, always the same for the same parts; of the prefix at most 7."""
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"{prefix[:7]}{letter}{digest[:10]}"[:INTERFACE_NAME_LENGTH]


def is_ours(policy: Policy, interface: str) -> bool:
    """Whether an interface of the host has a name that is generated here; the prefix alone may begin others' too."""
    return re.fullmatch(f"{re.escape(policy.interface_prefix)}[a-z][0-9a-f]{{10}}", interface) is not None


def tap(policy: Policy, port: str) -> str:
    return generated(policy.interface_prefix, "p", port)


def host_link(policy: Policy, network: str, purpose: str) -> str:
    """The host's end of a link pair. purpose: n (nat), h (the host's address), u (port of an uplink bridge)."""
    return generated(policy.interface_prefix, purpose, network)


def leg_port(policy: Policy, router: str, network: str) -> str:
    """The bridge's end of a router's leg."""
    return generated(policy.interface_prefix, "r", router, network)


def leg(network: str) -> str:
    """The router's end of its leg in a network."""
    return generated("leg", "-", network)


def state_folder(policy: Policy) -> Path:
    return policy.run / "networks"
