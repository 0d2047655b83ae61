"""The way out of a nat network: a link pair to the host, masquerading at both ends.

The network's stack hides its guests behind its end of the link, so that two nat networks may use the same
addresses; the host hides the link behind its own address. On the host there is one nft table, ours alone, and its
IPv4 forwarding, which we switch on only when the policy says so and put back as it was. IPv6 does not leave a nat
network: forwarding it would make the host ignore the router advertisements that it may live on.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from pathlib import Path

from ...network import host_addresses
from ...policy import Policy
from ...vocabulary import NetworkSpec, Rejected
from . import names, namespaces, nft
from .links import Links
from .records import Records

FORWARD = "net/ipv4/ip_forward"
_CONFIGURATIONS = Path("/proc/sys/net/ipv4/conf")


def apply(policy: Policy, spec: NetworkSpec, namespace: int, inside: Links) -> None:
    """Link a network to the host. Raises Rejected when the host does not forward and the policy forbids it."""
    allow_forwarding(policy, spec.name)
    here, there = host_addresses.nat_link(spec)
    ours = names.host_link(policy, spec.name, "n")
    with Links() as host:
        host.add_pair(ours, names.WAY_OUT, namespace)
        host.change(ours, up=True, mtu=spec.mtu, link_local=False)
        host.set_addresses(ours, {here})
    inside.change(names.WAY_OUT, up=True, mtu=spec.mtu, link_local=False)
    inside.set_addresses(names.WAY_OUT, {there})


def gateway(spec: NetworkSpec) -> str:
    """Where the network's stack sends what leaves it."""
    return host_addresses.nat_link(spec)[0].split("/")[0]


def masquerade_body() -> str:
    """The table in the network's stack: guests leave with the address of the link; nothing new comes in."""
    return (
        "  chain postrouting { type nat hook postrouting priority srcnat; policy accept;\n"
        f'    oifname "{names.WAY_OUT}" masquerade\n  }}\n'
        "  chain forward { type filter hook forward priority filter; policy accept;\n"
        f'    iifname "{names.WAY_OUT}" ct state != {{ established, related }} drop\n  }}\n'
    )


def host_body(links: dict[str, str]) -> str:
    """The host's table for these links (interface -> prefix of its link).

    Guests reach what the host can reach, not one another's networks, and of the host itself only what answers them:
    echo and name service.
    """
    interfaces = ", ".join(f'"{name}"' for name in sorted(links))
    prefixes = ", ".join(sorted(set(links.values())))
    return (
        f"  set links {{ type ifname; elements = {{ {interfaces} }} }}\n"
        f"  set prefixes {{ type ipv4_addr; flags interval; elements = {{ {prefixes} }} }}\n"
        "  chain postrouting { type nat hook postrouting priority srcnat; policy accept;\n"
        "    ip saddr @prefixes oifname != @links masquerade\n  }\n"
        "  chain forward { type filter hook forward priority filter; policy accept;\n"
        "    iifname @links oifname @links drop\n"
        "    oifname @links ct state != { established, related } drop\n  }\n"
        "  chain input { type filter hook input priority filter; policy accept;\n"
        "    iifname @links ct state { established, related } accept\n"
        "    iifname @links meta l4proto { tcp, udp } th dport 53 accept\n"
        "    iifname @links icmp type echo-request accept\n"
        "    iifname @links drop\n  }\n"
    )


def load_host_table(policy: Policy, specs: list[NetworkSpec]) -> None:
    """Bring the host's table to these nat networks; without any the table goes and forwarding is put back."""
    links = {
        names.host_link(policy, spec.name, "n"): str(ipaddress.ip_network(spec.nat_prefix or "", strict=False))
        for spec in specs
    }
    if links:
        nft.load(nft.replace_table("inet", names.TABLE, host_body(links)))
        return
    nft.load(f"add table inet {names.TABLE}\ndelete table inet {names.TABLE}\n")
    put_back_forwarding(policy)


def check_forwarding(policy: Policy, network: str) -> None:
    """Raises Rejected when the host does not forward IPv4 and Skep may not switch it on."""
    if namespaces.read_sysctl(FORWARD) != "1" and not policy.forwarding:
        raise Rejected(
            f"network {network}: this host does not forward IPv4 and the policy does not let Skep switch it on: "
            "set forwarding = true in the policy file, or run sysctl net.ipv4.ip_forward=1"
        )


def allow_forwarding(policy: Policy, network: str) -> None:
    """Make sure that the host forwards IPv4; records what it changes. Raises Rejected when it may not."""
    check_forwarding(policy, network)
    if namespaces.read_sysctl(FORWARD) == "1":
        return
    records = Records(policy)
    if records.host_values() is None:
        records.save_host_values(_forwarding_values())
    namespaces.write_sysctl(FORWARD, "1")


def put_back_forwarding(policy: Policy) -> None:
    """Put the host's forwarding back exactly as it was recorded; nothing when Skep did not change it."""
    records = Records(policy)
    values = records.host_values()
    if values is None:
        return
    namespaces.write_sysctl(FORWARD, values[FORWARD])
    for path, value in values.items():
        with contextlib.suppress(FileNotFoundError):  # an interface that went in the meantime
            if namespaces.read_sysctl(path) != value:
                namespaces.write_sysctl(path, value)
    records.forget("host", "forwarding")


def _forwarding_values() -> dict[str, str]:
    """ip_forward, and what the kernel changes with it for every interface."""
    values = {FORWARD: namespaces.read_sysctl(FORWARD)}
    for interface in sorted(os.listdir(_CONFIGURATIONS)):
        for name in ("forwarding", "accept_redirects"):
            path = f"net/ipv4/conf/{interface}/{name}"
            values[path] = namespaces.read_sysctl(path)
    return values
