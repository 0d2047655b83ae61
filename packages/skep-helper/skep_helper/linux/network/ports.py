"""ApplyPort, RemovePort and SetGroup: a tap in the network's bridge, its guard, its rules, and what they refer to."""

from __future__ import annotations

import dataclasses
import os

from ...handlers import Context, Failure
from ...vocabulary import ApplyPort, PortSpec, Rejected, RemovePort, SetGroup
from . import chains, names, namespaces, nft, probes, reading, rules, taps
from .conntrack import Conntrack
from .filters import Filters
from .links import Links
from .records import NetworkRecord, PortRecord, Records

LAST_NUMBER = 0x7FFF


def apply_port(context: Context, request: ApplyPort) -> None:
    """Bring a port to its spec. Raises Failure: missing (its network), conflict (in another network), unsupported."""
    policy, spec = context.policy, request.port
    _check(spec)
    records = Records(policy)
    network = _network(records, spec.network, f"port {spec.name}")
    record = records.port(spec.name)
    if record is not None and record.spec.network != spec.network:
        raise Failure("conflict", f"port {spec.name} is in network {record.spec.network}: remove it there first")
    namespace = namespaces.open_namespace(names.network_namespace(spec.network), network.inode)
    try:
        fresh = record is None
        if record is None:
            record = PortRecord(spec, names.tap(policy, spec.name), _free_number(records, spec.network))
            _check_unused(records, record)
        Port(records, network, record, namespace).apply(spec, fresh)
    finally:
        os.close(namespace)


def remove_port(context: Context, request: RemovePort) -> None:
    """Remove a port with all its flows. Repeatable."""
    records = Records(context.policy)
    record = records.port(request.port)
    if record is None or record.spec.network != request.network:
        return
    network = records.network(request.network)
    name = names.network_namespace(request.network)
    if network is not None and network.inode and namespaces.inode(name) == network.inode:
        namespace = namespaces.open_namespace(name, network.inode)
        try:
            Port(records, network, record, namespace).remove()
        finally:
            os.close(namespace)
    records.forget("port", request.port)


def set_group(context: Context, request: SetGroup) -> None:
    """Bring a remote group to these addresses; flows with addresses that left it end unless another rule allows them.

    An empty group that rules still name stays as an empty set, so that they allow nobody.
    """
    records = Records(context.policy)
    network = _network(records, request.network, f"group {request.group}")
    addresses = list(request.addresses)
    standing = network.groups.get(request.group)
    if standing == (addresses or None):
        return
    users = [port for port in records.ports(request.network) if request.group in _groups(port.spec)]
    filters = Filters(probes.conntrack_bridge())
    remove = not addresses and not users
    script = filters.group_removal(request.group) if remove else filters.group(request.group, addresses)
    namespace = namespaces.open_namespace(names.network_namespace(request.network), network.inode)
    try:
        network.groups[request.group] = []  # begun: were the helper killed here, the next SetGroup does it again
        records.save(network)
        nft.load(script, namespace)
        network.groups[request.group] = addresses
        for port in users if set(standing or ()) - set(addresses) else []:
            end_refused_flows(namespace, network, port)
    finally:
        os.close(namespace)
    if not addresses:
        del network.groups[request.group]
    records.save(network)


def end_refused_flows(namespace: int, network: NetworkRecord, port: PortRecord) -> None:
    """End the flows of a port that its rules, as they are now, would not let begin."""
    with Conntrack(namespace) as conntrack:
        for direction, mark, mask in (
            ("out", rules.outgoing_mark(port.number), 0xFFFF0000),
            ("in", rules.incoming_mark(port.number), 0x0000FFFF),
        ):
            for flow in conntrack.flows(mark, mask):
                if not rules.allows(port.spec, direction, flow, network.groups):
                    conntrack.end(flow)


class Port:
    """A port of a network whose namespace is open. Methods raise Failure and OSError."""

    def __init__(self, records: Records, network: NetworkRecord, record: PortRecord, namespace: int) -> None:
        self.records, self.network, self.record, self.namespace = records, network, record, namespace
        self.filters = Filters(probes.conntrack_bridge())

    def apply(self, spec: PortSpec, fresh: bool = False) -> None:
        """Nothing when it stands, the rules alone when they alone changed, else everything (each repeatable).

        fresh: nothing of the port was made yet, so there is no flow to look for (which takes the kernel long)."""
        before = self.record.spec
        whole = self.record.done and reading.stands(self.record, reading.read_stack(self.namespace))
        if whole and before == spec:
            return
        only_rules = whole and _without_rules(before) == _without_rules(spec)
        self.record.spec, self.record.done = spec, False
        self.records.save(self.record)
        if only_rules:
            nft.load(self.filters.port_rules(self.record), self.namespace)
        else:
            self._build()
        if not fresh:
            end_refused_flows(self.namespace, self.network, self.record)
        self.record.uses = self.filters.uses(self.record, chains.standing(self.namespace))
        self.record.done = True
        self.records.save(self.record)

    def remove(self) -> None:
        with Links.of(self.namespace) as links:
            # Down first: nothing may be sent by a guest between the end of its guard and that of its tap.
            if links.exists(self.record.interface):
                links.change(self.record.interface, up=False)
                if self.filters.wanted_scaffold() <= chains.standing(self.namespace).keys():
                    nft.load(self.filters.port_removal(self.record), self.namespace)
                links.remove(self.record.interface)
            elif self.filters.wanted_scaffold() <= chains.standing(self.namespace).keys():
                nft.load(self.filters.rules_removal(self.record), self.namespace)
        with Conntrack(self.namespace) as conntrack:
            conntrack.end_all(self.record.number)

    def _build(self) -> None:
        """The tap, then its guard and rules, and only then into the bridge: never a frame without them."""
        interface, spec = self.record.interface, self.record.spec
        namespaces.inside(self.namespace, lambda: taps.make(interface))
        nft.load(self.filters.port(self.record), self.namespace)
        with Links.of(self.namespace) as links:
            links.change(interface, mtu=self.network.spec.mtu, link_local=False)
            links.change(interface, master=names.BRIDGE)
            moving = any(pair.mac for pair in spec.pairs)  # a MAC that several ports may have
            links.set_bridge_port(interface, learning=not spec.guarded or moving, flood=not spec.guarded)
            for mac, _ in links.forwarding(interface):
                if mac != spec.mac:
                    links.remove_forwarding(interface, mac)
            self._set_vlans(links)
            links.add_forwarding(interface, spec.mac)
            links.change(interface, up=True)

    def _set_vlans(self, links: Links) -> None:
        """The port's tagged VLANs on its tap, those of all ports of the network on its uplink."""
        others: set[int] = set()
        for other in self.records.ports(self.network.spec.name):
            others |= set(other.spec.vlans)
        if not others:
            return
        links.filter_vlans(names.BRIDGE)
        links.set_vlans(self.record.interface, set(self.record.spec.vlans))
        if links.exists(names.UPLINK):
            links.set_vlans(names.UPLINK, others)


def _check(spec: PortSpec) -> None:
    """Raises Failure (unsupported) when this kernel lacks what the port needs."""
    if 1 in spec.vlans:
        raise Rejected(f"port {spec.name}: VLAN 1 is the bridge's own, for untagged frames: use another number")
    needs = {"bridge-vlan-filtering": bool(spec.vlans), "guard": spec.guarded, "rules": spec.filtered}
    for feature in probes.all_features():
        if needs.get(feature.name) and not feature.works:
            raise Failure("unsupported", f"port {spec.name}: {feature.name}: {feature.reason}")


def _network(records: Records, name: str, who: str) -> NetworkRecord:
    network = records.network(name)
    if network is None:
        raise Failure("missing", f"{who}: network {name} is not on this host: apply it first")
    return network


def _without_rules(spec: PortSpec) -> PortSpec:
    return dataclasses.replace(spec, rules=(), digest="0" * 16, rules_digest="0" * 16)


def _groups(spec: PortSpec) -> set[str]:
    return {group for _, group in rules.groups_of(spec)}


def _free_number(records: Records, network: str) -> int:
    used = {port.number for port in records.ports(network)}
    return next(number for number in range(1, LAST_NUMBER + 1) if number not in used)


def _check_unused(records: Records, record: PortRecord) -> None:
    """Two names with one generated interface name would share a tap."""
    for other in records.ports(record.spec.network):
        if other.interface == record.interface:
            raise Failure(
                "conflict", f"port {record.spec.name} gets the interface of port {other.spec.name}: rename it"
            )
