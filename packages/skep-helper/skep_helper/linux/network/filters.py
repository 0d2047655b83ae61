"""Scripts that load guards and rules into a network's stack.

Two scaffolds for the same chains. Where the bridge family tracks connections (nf_conntrack_bridge) everything is
in it. Elsewhere frames pass the inet family by way of the bridge (br_netfilter), where the ports are not seen any
more: the bridge family then writes the port's number into the packet's mark, the sender's before prerouting and the
receiver's before forward, and the inet family finds the port's chain by it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from ...vocabulary import PortSpec
from . import guard, names, rules
from .conntrack import BRIDGED_ZONE
from .records import NetworkRecord, PortRecord

_TYPES = "{ arp, ip, ip6, 0x8035 }"
"""Frames that a filtered port may exchange: any other would pass its rules unseen."""


class Filters:
    """bridge: whether the kernel tracks connections in the bridge family."""

    def __init__(self, bridge: bool) -> None:
        self.bridge = bridge
        self.family = "bridge" if bridge else "inet"

    def wanted_chains(self, port: PortRecord) -> set[tuple[str, str, str]]:
        """The (family, table, chain) that must stand for a port."""
        wanted = {(self.family, names.TABLE, chain) for chain in rules.chain_names(port.interface)}
        if port.spec.guarded:
            wanted |= {("netdev", names.TABLE, chain) for chain in guard.chain_names(port.interface)}
        return wanted

    def uses(self, port: PortRecord, standing: Mapping[tuple[str, str, str], int]) -> dict[str, int]:
        """What a port's chains hold, of those that stand; chains that do not are left out."""
        wanted = sorted(self.wanted_chains(port))
        return {f"{chain[0]} {chain[2]}": standing[chain] for chain in wanted if chain in standing}

    def wanted_scaffold(self) -> set[tuple[str, str, str]]:
        chains = {("bridge", names.TABLE, "between")}
        return (
            chains if self.bridge else chains | {("inet", names.TABLE, "incoming"), ("inet", names.TABLE, "outgoing")}
        )

    def scaffold(self, record: NetworkRecord) -> str:
        """The network's tables without any port, and its groups; replaces what stands."""
        tables = ["bridge"] if self.bridge else ["bridge", "inet"]
        start = "".join(f"add table {t} {names.TABLE}\ndelete table {t} {names.TABLE}\n" for t in tables)
        groups = "".join(self.group(name, addresses) for name, addresses in sorted(record.groups.items()))
        return start + (_SCAFFOLD_BRIDGE if self.bridge else _SCAFFOLD_INET) + groups

    def group(self, name: str, addresses: Iterable[str]) -> str:
        """Bring the sets of a group to these addresses, making them when they are not there."""
        lines = []
        for family in ("ipv4", "ipv6"):
            where = f"{self.family} {names.TABLE} {rules.group_set(family, name)}"
            lines += [self._group_set(family, name), f"flush set {where}"]
            members = _collapsed(addresses, 4 if family == "ipv4" else 6)
            if members:
                lines.append(f"add element {where} {{ {', '.join(members)} }}")
        return "\n".join(lines) + "\n"

    def group_removal(self, name: str) -> str:
        lines = []
        for family in ("ipv4", "ipv6"):
            lines.append(self._group_set(family, name))
            lines.append(f"delete set {self.family} {names.TABLE} {rules.group_set(family, name)}")
        return "\n".join(lines) + "\n"

    def _group_set(self, family: str, name: str) -> str:
        where = f"{self.family} {names.TABLE} {rules.group_set(family, name)}"
        return f"add set {where} {{ type {family}_addr; flags interval; }}"

    def port(self, port: PortRecord) -> str:
        """Bring a port's guard and rules to its spec, in one transaction, and lead its packets to them."""
        return guard.script(port.interface, port.spec) + self.port_rules(port) + "".join(
            f"{line}\n" for line in (*self._add_elements(port), *self._set_filtered(port))
        )  # fmt: skip

    def port_rules(self, port: PortRecord) -> str:
        """Bring a port's rules to its spec; touches this port's two chains alone."""
        spec, table = port.spec, f"{self.family} {names.TABLE}"
        lines = [self._group_set(family, group) for family, group in sorted(rules.groups_of(spec))]
        bodies = rules.chains(port.interface, spec, port.number)
        lines += [f"{verb} chain {table} {chain}" for verb in ("add", "flush") for chain in bodies]
        lines += [f"add rule {table} {chain} {rule}" for chain, body in bodies.items() for rule in body]
        return "\n".join(lines) + "\n"

    def port_removal(self, port: PortRecord) -> str:
        """Remove a port's guard and rules, whatever of them is there (the guard needs the tap to be there)."""
        return guard.removal(port.interface) + self.rules_removal(port)

    def rules_removal(self, port: PortRecord) -> str:
        table = f"{self.family} {names.TABLE}"
        chains = rules.chain_names(port.interface)
        lines = [f"add chain {table} {chain}" for chain in chains]
        lines += [*self._add_elements(port), f'add element bridge {names.TABLE} filtered {{ "{port.interface}" }}']
        lines += [line.replace("add", "delete", 1) for line in self._add_elements(port)]
        lines += [f'delete element bridge {names.TABLE} filtered {{ "{port.interface}" }}']
        lines += [f"{verb} chain {table} {chain}" for verb in ("flush", "delete") for chain in chains]
        return "\n".join(lines) + "\n"

    def _add_elements(self, port: PortRecord) -> list[str]:
        out, into = rules.chain_names(port.interface)[:2]
        key = f'"{port.interface}"' if self.bridge else f"{port.number:#x}"
        lines = [
            f"add element {self.family} {names.TABLE} senders {{ {key} : jump {out} }}",
            f"add element {self.family} {names.TABLE} receivers {{ {key} : jump {into} }}",
        ]
        if not self.bridge:
            lines.append(f'add element bridge {names.TABLE} numbers {{ "{port.interface}" : {port.number:#x} }}')
        return lines

    def _set_filtered(self, port: PortRecord) -> list[str]:
        element = f'element bridge {names.TABLE} filtered {{ "{port.interface}" }}'
        return [f"add {element}"] if _only_known_types(port.spec) else [f"add {element}", f"delete {element}"]


def _collapsed(prefixes: Iterable[str], version: int) -> list[str]:
    """Those of one IP version without overlaps, which nft's interval sets refuse."""
    networks = [ipaddress.ip_network(prefix, strict=False) for prefix in prefixes]
    same = [network for network in networks if network.version == version]
    return [str(network) for network in ipaddress.collapse_addresses(same)]  # type: ignore[type-var]


def _only_known_types(spec: PortSpec) -> bool:
    return spec.filtered and not spec.vlans


_SCAFFOLD_INET = f"""\
table bridge {names.TABLE} {{
  map numbers {{ type ifname : mark; }}
  set filtered {{ type ifname; }}
  chain before {{ type filter hook prerouting priority -300; policy accept;
    meta mark set 0
    iifname @filtered ether type != {_TYPES} drop
    meta mark set iifname map @numbers
  }}
  chain between {{ type filter hook forward priority -300; policy accept;
    meta mark set 0
    oifname @filtered ether type != {_TYPES} drop
    meta mark set oifname map @numbers
  }}
}}
table inet {names.TABLE} {{
  map senders {{ type mark : verdict; }}
  map receivers {{ type mark : verdict; }}
  chain zones {{ type filter hook prerouting priority -300; policy accept;
    iifname "{names.BRIDGE}" meta pkttype {{ broadcast, multicast }} notrack accept
    iifname "{names.BRIDGE}" ct zone set {BRIDGED_ZONE}
  }}
  chain outgoing {{ type filter hook prerouting priority -150; policy accept;
    iifname "{names.BRIDGE}" meta mark vmap @senders
  }}
  chain incoming {{ type filter hook forward priority 0; policy accept;
    iifname "{names.BRIDGE}" meta mark vmap @receivers
  }}
}}
"""

_SCAFFOLD_BRIDGE = f"""\
table bridge {names.TABLE} {{
  set filtered {{ type ifname; }}
  map senders {{ type ifname : verdict; }}
  map receivers {{ type ifname : verdict; }}
  chain zones {{ type filter hook prerouting priority -300; policy accept;
    meta pkttype {{ broadcast, multicast }} notrack accept
    ct zone set {BRIDGED_ZONE}
  }}
  chain between {{ type filter hook forward priority 0; policy accept;
    iifname @filtered ether type != {_TYPES} drop
    oifname @filtered ether type != {_TYPES} drop
    meta protocol {{ ip, ip6 }} iifname vmap @senders
    meta protocol {{ ip, ip6 }} oifname vmap @receivers
  }}
}}
"""
