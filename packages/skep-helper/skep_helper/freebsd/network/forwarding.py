"""The host's IPv4 forwarding, which a nat network needs: switched only when the policy says so, put back after."""

from __future__ import annotations

from ...policy import Policy
from ...vocabulary import Rejected
from .records import Records
from .system import System

FORWARD = "net.inet.ip.forwarding"


def check(system: System, policy: Policy, network: str) -> None:
    """Raises Rejected when the host does not forward IPv4 and Skep may not switch it on."""
    if not system.sysctl(FORWARD) and not policy.forwarding:
        raise Rejected(
            f"network {network}: this host does not forward IPv4 and the policy does not let Skep switch it on: "
            'set forwarding = true in the policy file, or gateway_enable="YES" in rc.conf (now: sysctl '
            f"{FORWARD}=1)"
        )


def allow(system: System, policy: Policy, network: str) -> None:
    """Make sure that the host forwards IPv4; records what it changes. Raises Rejected when it may not."""
    check(system, policy, network)
    if system.sysctl(FORWARD):
        return
    records = Records(policy)
    if records.host_values() is None:
        records.save_host_values({FORWARD: 0})
    system.set_sysctl(FORWARD, 1)


def put_back(system: System, policy: Policy) -> None:
    """Put the host's forwarding back as it was recorded; nothing when Skep did not change it."""
    records = Records(policy)
    values = records.host_values()
    if values is not None:
        system.set_sysctl(FORWARD, values[FORWARD])
        records.forget("host", "forwarding")
