"""What leads out of a network: a nat link, an uplink, a VLAN, a VXLAN, and the host's own address on the network.

- vlan: a vlan(4), moved into the stack. When the host has that VLAN itself (there is one vlan(4) for a parent and a
  tag), its interface stays on the host in a bridge, and a link pair (epair(4)) leads from there into the stack.
- flat: a link pair into a bridge of the administrator's. An interface that is no bridge is refused: it would have to
  become a member itself, and a guest's tag would be a real VLAN on its cable.
- vxlan: stays on the host (in a jail it receives in one stack and sends in the other), in a bridge with a link pair.
  What has no entry in its table goes to its first remote only; who asks for a known port behind another is answered
  by the network itself (see responder).
- nat: a link pair with an address at each end. The stack hides its guests behind its end by its own pf; the host
  forwards, and its administrator's pf.conf hides the links' range behind the host (docs/freebsd.md has the line).

All members have one MTU, or the bridge refuses them.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...handlers import Failure
from ...network import host_addresses
from ...policy import Policy
from ...vocabulary import NetworkSpec, Rejected
from . import forwarding, ifconfig, names, vxlan
from .ifconfig import Interface
from .pf import NatLink
from .system import System


@dataclass
class Ways:
    """What there is now: members of the network's bridge, interfaces in its stack and on the host, those that joined a
    bridge of the host (interface -> bridge), the nat link.

    anew: whether a part of it was made by this call.
    """

    members: list[str] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    joined: dict[str, str] = field(default_factory=dict)
    nat: NatLink | None = None
    anew: bool = False


def check(system: System, policy: Policy, spec: NetworkSpec) -> None:
    """Whether spec is whole and allowed here; raises Rejected."""
    if spec.kind in ("flat", "vlan"):
        if spec.uplink is None or (spec.kind == "vlan" and spec.vlan is None):
            more = " and a vlan" if spec.kind == "vlan" else ""
            raise Rejected(f"network {spec.name}: a {spec.kind} network needs an uplink{more}")
        if spec.uplink not in policy.uplinks:
            allowed = ", ".join(policy.uplinks) or "none"
            raise Rejected(
                f"network {spec.name}: {spec.uplink} is not an uplink that the policy allows ({allowed}): "
                "add it to uplinks in the policy file"
            )
    if spec.kind == "vxlan" and (spec.vni is None or spec.local is None or not spec.remotes):
        message = "a vxlan network needs vni, local (this host's address in the underlay) and a remote"
        raise Rejected(f"network {spec.name}: {message}")
    if spec.kind == "nat":
        host_addresses.nat_link(spec)
        forwarding.check(system, policy, spec.name)
    host_addresses.check(policy, spec, lambda: standing(system, policy))


def standing(system: System, policy: Policy) -> Iterator[tuple[str, str]]:
    """(interface, ADDRESS/LENGTH) of what the host has without us."""
    for interface in ifconfig.parse(system.run([ifconfig.IFCONFIG, "-a"]).decode()).values():
        if not names.is_ours(policy, interface.name):
            yield from ((interface.name, address) for address in interface.addresses)


def differ(before: NetworkSpec, after: NetworkSpec) -> bool:
    """Whether the ways out must be made anew."""
    fields = ("kind", "uplink", "vlan", "vni", "local", "nat_prefix", "host_address")
    return _first_remote(before) != _first_remote(after) or any(
        getattr(before, name) != getattr(after, name) for name in fields
    )


def _first_remote(spec: NetworkSpec) -> str:
    return spec.remotes[0].address if spec.remotes else ""


def apply(system: System, policy: Policy, spec: NetworkSpec, jid: int, inside: set[str]) -> Ways:
    """Make the ways out that are not there. inside: the interfaces of the stack. Raises Failure: busy, missing."""
    host = Host(system, policy, spec, jid, inside)
    if spec.kind == "nat":
        host.nat()
    elif spec.kind == "vlan":
        host.vlan()
    elif spec.kind == "flat":
        host.flat()
    elif spec.kind == "vxlan":
        host.vxlan()
    if spec.host_address is not None:
        host.own_address()
    return host.ways


def remove(system: System, policy: Policy, network: str, jid: int, inside: set[str]) -> None:
    """Remove whatever ways out a network has. inside: the interfaces of its stack, if it stands. Repeatable."""
    vlan = names.vlan(policy, network)
    if vlan in inside:
        system.run(ifconfig.take_back(vlan, jid))
    standing = system.interfaces()
    pairs = [names.link(policy, network, purpose) for purpose in "nhu"]
    # Destroying one end of a pair destroys the other, wherever it is.
    for ours, theirs in pairs:
        for name in (ours, theirs):
            if name in standing:
                system.run(ifconfig.destroy(name))
                break
    for name in (names.host_bridge(policy, network), names.vxlan(policy, network), vlan):
        if name in standing:
            system.run(ifconfig.destroy(name))


class Host:
    """The host's side of one network. Methods make what is not there."""

    def __init__(self, system: System, policy: Policy, spec: NetworkSpec, jid: int, inside: set[str]) -> None:
        self.system, self.policy, self.spec, self.jid, self.inside = system, policy, spec, jid, inside
        self.ways = Ways()
        self.standing: dict[str, Interface] = ifconfig.parse(system.run([ifconfig.IFCONFIG, "-a"]).decode())

    def nat(self) -> None:
        forwarding.allow(self.system, self.policy, self.spec.name)
        here, there = host_addresses.nat_link(self.spec)
        ours, theirs = self._pair("n")
        if here not in (self.standing[ours].addresses if ours in self.standing else []):
            self.system.run(ifconfig.add_address(ours, here))
        self.ways.inside.append(theirs)
        self.ways.nat = NatLink(theirs, there.split("/")[0])

    def own_address(self) -> None:
        address = str(ipaddress.ip_interface(str(self.spec.host_address)))
        ours, theirs = self._pair("h")
        if address not in (self.standing[ours].addresses if ours in self.standing else []):
            self.system.run(ifconfig.add_address(ours, address))
        self.ways.members.append(theirs)

    def vlan(self) -> None:
        tag, parent = int(self.spec.vlan or 0), str(self.spec.uplink)
        self._need(parent)
        ours = names.vlan(self.policy, self.spec.name)
        holder = next((i.name for i in self.standing.values() if i.vlan == (tag, parent) and i.name != ours), None)
        if holder is not None and names.is_ours(self.policy, holder):
            message = f"VLAN {tag} of {parent} is in another network, as {holder}: remove or apply that one first"
            raise Failure("busy", f"network {self.spec.name}: {message}")
        if holder is not None:
            self._fits(f"VLAN {tag} of {parent} is {holder} on this host and", self.standing[holder].mtu, exact=True)
            self._join(self._bridge_of(holder) or self._own_bridge(holder))
            return
        if ours not in self.inside:
            if ours not in self.standing:
                options = ("vlan", str(tag), "vlandev", parent)
                self._make(ifconfig.create("vlan", ours, *options), f"VLAN {tag} of {parent}")
                self._check_size(ours, f"VLAN {tag} of {parent}")
            self.system.run(ifconfig.move(ours, self.jid))
        self.ways.members.append(ours)

    def flat(self) -> None:
        uplink = self._need(str(self.spec.uplink))
        if "bridge" not in uplink.groups:
            raise Failure(
                "unsupported",
                f"network {self.spec.name}: {uplink.name} is not a bridge: put it into one (rc.conf: "
                f'cloned_interfaces="bridge0", ifconfig_bridge0="addm {uplink.name} up") and name the bridge as uplink',
            )
        self._join(uplink.name)

    def vxlan(self) -> None:
        ours = names.vxlan(self.policy, self.spec.name)
        if ours not in self.standing:
            local, remote = str(self.spec.local), self.spec.remotes[0].address
            options = ("vxlanid", str(self.spec.vni), "vxlanlocal", local, "vxlanremote", remote)
            self._make(ifconfig.create("vxlan", ours, *options), f"VNI {self.spec.vni}")
        self.system.run(ifconfig.change(ours, "mtu", str(self.spec.mtu), *ifconfig.SILENT, "up"))
        self.system.drive(ours, vxlan.FLUSH, vxlan.flush())
        for peer in self.spec.remotes:
            for mac in peer.macs:
                self._add_entry(ours, mac, peer.address)
        self.ways.outside.append(ours)
        self._join(self._own_bridge(ours))

    def _add_entry(self, interface: str, mac: str, remote: str) -> None:
        try:
            self.system.drive(interface, vxlan.ADD, vxlan.entry(mac, remote))
        except FileExistsError:  # learned since the table was emptied
            self.system.drive(interface, vxlan.REMOVE, vxlan.entry(mac))
            self.system.drive(interface, vxlan.ADD, vxlan.entry(mac, remote))

    def _check_size(self, vlan: str, what: str) -> None:
        """A new vlan(4) has the largest MTU that it can have: of a parent that cannot send longer frames (no VLAN_MTU
        among its options), four bytes less than that has."""
        try:
            self._fits(what, self.system.mtu(vlan))
        except Rejected:
            self.system.run(ifconfig.destroy(vlan))
            raise

    def _fits(self, what: str, mtu: int, exact: bool = False) -> None:
        if self.spec.mtu > mtu or (exact and self.spec.mtu != mtu):
            has = "has" if exact else "can have at most"
            message = f"{what} {has} an MTU of {mtu}: set mtu = {mtu}, or give {self.spec.uplink} a larger one"
            raise Rejected(f"network {self.spec.name}: {message}")

    def _need(self, name: str) -> Interface:
        if name not in self.standing:
            raise Failure("missing", f"network {self.spec.name}: this host has no interface {name}")
        return self.standing[name]

    def _make(self, argv: list[str], what: str) -> None:
        try:
            self.system.run(argv)
        except Failure as error:
            message = f"network {self.spec.name}: {what} cannot be made, is it in another network? ({error.message})"
            raise Failure("busy", message) from None

    def _bridge_of(self, member: str) -> str | None:
        return next((i.name for i in self.standing.values() if member in i.members), None)

    def _own_bridge(self, member: str) -> str:
        """A bridge of ours on the host with this member. Its MTU is that of its first member."""
        bridge = names.host_bridge(self.policy, self.spec.name)
        if bridge not in self.standing:
            self.system.run(ifconfig.create("bridge", bridge))
            self.system.run(ifconfig.change(bridge, *ifconfig.SILENT))
            self.standing[bridge] = Interface(bridge, frozenset(), self.spec.mtu)
        if member not in self.standing[bridge].members:
            self._add(bridge, member)
        self.ways.outside.append(bridge)
        self.ways.joined[member] = bridge
        return bridge

    def _add(self, bridge: str, member: str) -> None:
        try:
            self.system.run(ifconfig.add_member(bridge, member, "up"))
        except Failure as error:
            if member not in self.standing or not self.standing[member].addresses:
                raise
            advice = f"put {member} into a bridge of your own and its addresses onto that (rc.conf)"
            message = f"{member} has addresses, and from FreeBSD 15 on such an interface joins no bridge: {advice}"
            raise Failure("unsupported", f"network {self.spec.name}: {message} ({error.message})") from None

    def _join(self, bridge: str) -> None:
        """A link pair between a bridge of the host and the network's."""
        has = self.standing[bridge].mtu
        if has != self.spec.mtu and self.standing[bridge].members:
            message = f"{bridge} has an MTU of {has}, and members of a bridge have its MTU: set mtu = {has}"
            raise Rejected(f"network {self.spec.name}: {message}")
        ours, theirs = self._pair("u")
        if ours not in self.standing[bridge].members:
            self.system.run(ifconfig.change(ours, *ifconfig.SILENT))
            self.system.run(ifconfig.add_member(bridge, ours))
        self.ways.joined[ours] = bridge
        self.ways.members.append(theirs)

    def _pair(self, purpose: str) -> tuple[str, str]:
        """A link pair whose one end is on the host, up, and whose other is in the stack."""
        ours, theirs = names.link(self.policy, self.spec.name, purpose)
        made = make_pair(self.system, (ours, theirs), self.spec.mtu, set(self.standing), self.inside, self.jid)
        if made:
            self.ways.anew = True
            self.standing.pop(ours, None)
            for interface in self.standing.values():
                with contextlib.suppress(ValueError):
                    interface.members.remove(ours)
        self.ways.outside.append(ours)
        return ours, theirs


def make_pair(
    system: System, ends: tuple[str, str], mtu: int, host: set[str], inside: set[str], jid: int
) -> bool:  # fmt: skip
    """Make a pair with its first end on the host and its second in a jail, unless it stands so; whether it was made."""
    ours, theirs = ends
    if ours in host and theirs in inside:
        system.run(ifconfig.change(ours, "mtu", str(mtu), "up"))
        return False
    for name in ends:
        if name in host:
            system.run(ifconfig.destroy(name))
            break
    first = system.run([ifconfig.IFCONFIG, "epair", "create"]).decode().strip()
    second = first[:-1] + "b"
    system.run(ifconfig.change(first, "ether", names.mac(ours), "name", ours, "mtu", str(mtu), "up"))
    system.run(ifconfig.change(second, "ether", names.mac(theirs), "name", theirs, "mtu", str(mtu)))
    system.run(ifconfig.move(theirs, jid))
    return True
