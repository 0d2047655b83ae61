"""ApplyPort, RemovePort and SetGroup; and a tap's way to a guest and back.

A tap is made on the host under its generated name and moved into the network's jail. bhyve opens a tap only in a stack
that it is in itself, so it is lent to the guest's jail before every run, and taken into the network once bhyve has it
open (`lend`, `take`). Order in the network: rules, guard, bridge, and only then up: never a frame without them. A guard
does not survive a move; a tap that comes down keeps its place and everything else.
"""

from __future__ import annotations

import contextlib
import dataclasses

from ...handlers import Context, Failure
from ...policy import Policy
from ...vocabulary import ApplyPort, PortSpec, RemovePort, SetGroup
from . import guard, ifconfig, names, netgraph, pf, reading, rules, stacks
from .reading import Stack
from .records import NetworkRecord, PortRecord, Records, locked
from .system import System


def apply_port(context: Context, request: ApplyPort) -> None:
    """Bring a port to its spec. Raises Failure: missing (its network), conflict (in another network), unsupported."""
    with locked(context.policy, f"ApplyPort {request.port.name}"):
        apply(System(), context.policy, request.port)


def remove_port(context: Context, request: RemovePort) -> None:
    """Remove a port with all its flows. Repeatable. Raises Failure: busy (a guest has its tap, or is about to)."""
    with locked(context.policy, f"RemovePort {request.port}"):
        remove(System(), context.policy, request.port, request.network)


def set_group(context: Context, request: SetGroup) -> None:
    with locked(context.policy, f"SetGroup {request.group}"):
        change_group(System(), context.policy, request)


def lend(policy: Policy, port: str, jid: int, system: System | None = None) -> str:
    """Move a port's tap into a guest's jail, for that guest to open; returns its name in /dev. Repeatable.

    Raises Failure: missing (no such port), busy (a guest has it open).
    """
    with locked(policy, f"lending port {port} to its guest"):
        records, record, network = _known(policy, port)
        Port(system or System(), records, network, record).lend(jid)
        return record.device


def take(policy: Policy, port: str, system: System | None = None) -> None:
    """Bring a port's tap into its network, with guard and rules: once its guest has opened it, or ended. Repeatable."""
    with locked(policy, f"taking port {port} into its network"):
        records, record, network = _known(policy, port)
        Port(system or System(), records, network, record).take()


def apply(system: System, policy: Policy, spec: PortSpec) -> None:
    _check(spec)
    records = Records(policy)
    network = _network(records, spec.network, f"port {spec.name}")
    record = records.port(spec.name)
    if record is not None and record.spec.network != spec.network:
        raise Failure("conflict", f"port {spec.name} is in network {record.spec.network}: remove it there first")
    if record is None:
        record = PortRecord(spec, names.tap(policy, spec.name))
        _check_unused(records, record)
    Port(system, records, network, record).apply(spec)


def remove(system: System, policy: Policy, port: str, network_name: str) -> None:
    records = Records(policy)
    record = records.port(port)
    if record is None or record.spec.network != network_name:
        return
    network = records.network(network_name)
    if network is not None:
        Port(system, records, network, record).remove()
    records.forget("port", port)


def change_group(system: System, policy: Policy, request: SetGroup) -> None:
    """Bring a remote group to these addresses; flows with addresses that left it end unless another rule allows them.

    An empty group that rules still name is a table that is not there: they allow nobody.
    """
    records = Records(policy)
    network = _network(records, request.network, f"group {request.group}")
    addresses = list(request.addresses)
    standing = network.groups.get(request.group)
    if standing == (addresses or None):
        return
    users = [port for port in records.ports(request.network) if request.group in rules.groups_of(port.spec)]
    jid = stacks.jail_of(system, network, f"group {request.group}")
    network.groups[request.group] = []  # begun: were the helper killed here, the next SetGroup does it again
    records.save(network)
    left = set(standing or ()) - set(addresses)

    def inside() -> None:
        table = rules.table(request.group)
        system.run(pf.replace_table(table), "\n".join(addresses).encode())
        if not addresses:
            system.run(pf.remove_table(table))
        for port in users if left or standing == [] else []:
            end_refused_flows(system, network, port)

    network.groups[request.group] = addresses
    system.enter(jid, inside)
    if not addresses:
        del network.groups[request.group]
    records.save(network)


def end_refused_flows(system: System, network: NetworkRecord, port: PortRecord) -> None:
    """In the jail: end the states of a port that its rules, as they are now, would not let begin."""
    standing = pf.states(system.run(pf.show_states(port.interface)).decode())
    refused = [
        state
        for state in standing
        if not rules.allows(port.spec, "out" if state.direction == "in" else "in", state.flow, network.groups)
    ]
    if refused and len(refused) == len(standing):
        system.run(pf.end_states(port.interface))
        return
    for state in refused:
        system.run(pf.end_state(state))


class Port:
    """A port of a network. Methods raise Failure and OSError."""

    def __init__(self, system: System, records: Records, network: NetworkRecord, record: PortRecord) -> None:
        self.system, self.records, self.network, self.record = system, records, network, record
        self.interface = record.interface

    def apply(self, spec: PortSpec) -> None:
        """Nothing when it stands, the rules alone when they alone changed, else everything (each repeatable)."""
        jid = self._jail()
        before, lent = self.record.spec, self._is_lent()
        stack = Stack() if lent else reading.from_json(self.system.enter(jid, lambda: reading.ask(self.system)))
        whole = self.record.done and (lent or reading.stands(self.record, stack))
        if whole and before == spec:
            return
        self.record.spec, self.record.done = spec, False
        self.record.lent = self.record.lent if lent else 0
        self.records.save(self.record)
        if lent:
            pass  # its guest is about to open it; `take` brings it in as it is to be then
        elif whole and _without_rules(before) == _without_rules(spec):
            self.system.enter(jid, lambda: self._load_rules(refuse=True))
        else:
            self._bring_in(jid, stack)
            self.system.enter(jid, lambda: self._build(stack, before.mac != spec.mac))
        self.record.done = True
        self.records.save(self.record)

    def lend(self, jid: int) -> None:
        place = self._place()
        if place is None:
            raise Failure("missing", f"port {self.record.spec.name}: its tap is gone: apply the port again")
        where, flags = place
        if reading.is_open(flags):
            raise Failure("busy", f"port {self.record.spec.name}: another process has its tap open")
        if where == jid:
            return
        self.record.lent = jid
        self.records.save(self.record)
        if where == self.network.jid:
            self.system.enter(where, self._step_out)
        if where:
            self.system.run(ifconfig.take_back(self.interface, where))
        self.system.run(ifconfig.move(self.interface, jid))

    def take(self) -> None:
        jid = self._jail()
        stack = reading.from_json(self.system.enter(jid, lambda: reading.ask(self.system)))
        if self.record.lent and self.interface not in stack.flags and self._in_jail(self.record.lent) is not None:
            self.system.run(ifconfig.take_back(self.interface, self.record.lent))
        self._bring_in(jid, stack)
        self.record.lent = 0
        self.records.save(self.record)
        self.system.enter(jid, lambda: self._build(stack))

    def remove(self) -> None:
        place = self._place()
        if place is None:
            return
        where, flags = place
        if where and where == self.record.lent:
            # It may open the tap at any moment, also after we have looked.
            message = f"port {self.record.spec.name}: a guest is about to open its tap"
            raise Failure("busy", f"{message} (its jail {where} has it): stop the guest first")
        if reading.is_open(flags):
            # To destroy a tap that is open hangs for ever, and no signal ends it.
            raise Failure("busy", f"port {self.record.spec.name}: a guest has its tap open: stop the guest first")
        if where:
            if where == self.network.jid:
                self.system.enter(where, self._leave)
            self.system.run(ifconfig.take_back(self.interface, where))
        self.system.run(ifconfig.destroy(self.interface))

    def _jail(self) -> int:
        return stacks.jail_of(self.system, self.network, f"port {self.record.spec.name}")

    def _is_lent(self) -> bool:
        """Whether a guest's jail has the tap. A jail that ended gave it back."""
        return bool(self.record.lent) and self._in_jail(self.record.lent) is not None

    def _in_jail(self, jid: int) -> int | None:
        """The flags of the tap in a jail; None when it is not there, or the jail is not."""
        with contextlib.suppress(OSError):
            found = self.system.enter(jid, lambda: self.system.interfaces().get(self.interface))
            return None if found is None else int(found)
        return None

    def _place(self) -> tuple[int, int] | None:
        """(jail, flags) of the tap; jail 0 is the host."""
        host = self.system.interfaces()
        if self.interface in host:
            return 0, host[self.interface]
        for jid in (self.network.jid, self.record.lent):
            flags = self._in_jail(jid) if jid else None
            if flags is not None:
                return jid, flags
        return None

    def _bring_in(self, jid: int, stack: Stack) -> None:
        """Make the tap if there is none, and move it into the network's jail."""
        if self.interface not in stack.flags:
            description = f"skep port {self.record.spec.name}"
            words = ("mtu", str(self.network.spec.mtu), "description", description)
            if self.interface not in self.system.interfaces():
                self.system.run(ifconfig.create("tap", self.interface))
            self.system.run(ifconfig.change(self.interface, *words))
            self.system.run(ifconfig.move(self.interface, jid))
        device = self.system.device(self.interface)
        if device != self.record.device:
            self.record.device = device
            self.records.save(self.record)

    def _build(self, stack: Stack, new_mac: bool = False) -> None:
        """In the jail. Everything is there before the tap is up."""
        spec, interface = self.record.spec, self.interface
        self._load_rules(refuse=interface in stack.filtered)
        self._set_guard(stack)
        members = self.system.members(names.BRIDGE)
        if interface in members and new_mac:
            self.system.run(ifconfig.remove_members(names.BRIDGE, [interface]))  # its fixed address goes with it
        if interface not in members or new_mac:
            self.system.run(ifconfig.add_member(names.BRIDGE, interface))
        moving = any(pair.mac for pair in spec.pairs)  # a MAC that several ports may have
        learn = "-learn" if spec.guarded and not moving else "learn"
        discover = "-discover" if spec.guarded else "discover"  # whether it gets frames to unknown addresses
        words = (learn, interface, discover, interface, "static", interface, spec.mac)
        self.system.run(ifconfig.change(names.BRIDGE, *words))
        self.system.run(ifconfig.change(interface, *ifconfig.SILENT, "up"))

    def _load_rules(self, refuse: bool) -> None:
        """In the jail. refuse: end the flows that began under other rules and are not allowed any more."""
        anchor = rules.anchor(self.interface)
        self.system.run(pf.load(anchor), rules.text(self.interface, self.record.spec).encode())
        if refuse:
            end_refused_flows(self.system, self.network, self.record)

    def _set_guard(self, stack: Stack) -> None:
        wanted = netgraph.nodes_of(self.interface)
        spec, whole = self.record.spec, all(stack.nodes.get(name) == node for name, node in wanted.items())
        if not (guard.wanted(spec) and whole):
            self._drop_guard(stack)
        if not guard.wanted(spec):
            return
        if not whole:
            argv, script = netgraph.make(self.interface)
            self.system.run(argv, script)
            self.system.run(netgraph.let_through(self.interface))
        self.system.run(netgraph.set_program(self.interface, guard.program(spec)))

    def _drop_guard(self, stack: Stack) -> None:
        """In the jail. Its nodes hold one another: they stay behind when their tap moves away or is destroyed."""
        for argv in netgraph.remove(self.interface):
            if argv[-1].rstrip(":") in stack.nodes:
                with contextlib.suppress(Failure):  # a vlan node that has lost all others ends by itself
                    self.system.run(argv)

    def _step_out(self) -> None:
        """In the jail: down first, so that nothing is sent between the end of its guard and its own."""
        self.system.run(ifconfig.change(self.interface, "down"))
        self._drop_guard(Stack(nodes=self.system.nodes()))

    def _leave(self) -> None:
        """In the jail: with all that is the port's there."""
        self._step_out()
        self.system.run(pf.clear(rules.anchor(self.interface)))
        self.system.run(pf.end_states(self.interface))


def _known(policy: Policy, port: str) -> tuple[Records, PortRecord, NetworkRecord]:
    records = Records(policy)
    record = records.port(port)
    network = records.network(record.spec.network) if record is not None else None
    if record is None or network is None:
        raise Failure("missing", f"port {port} is not on this host: apply it first")
    return records, record, network


def _check(spec: PortSpec) -> None:
    """Raises Failure (unsupported) and Rejected when this kernel cannot hold the port."""
    if spec.vlans:
        message = f"port {spec.name}: tagged VLANs into a guest need a bridge that tells VLANs apart"
        raise Failure("unsupported", f"{message}, which Skep does not use on FreeBSD yet: give it a port for each")
    rules.check(spec)
    if guard.wanted(spec):
        guard.program(spec)


def _network(records: Records, name: str, who: str) -> NetworkRecord:
    network = records.network(name)
    if network is None:
        raise Failure("missing", f"{who}: network {name} is not on this host: apply it first")
    return network


def _without_rules(spec: PortSpec) -> PortSpec:
    return dataclasses.replace(spec, rules=(), digest="0" * 16, rules_digest="0" * 16)


def _check_unused(records: Records, record: PortRecord) -> None:
    """Two names with one generated interface name would share a tap."""
    for other in records.ports():
        if other.interface == record.interface:
            raise Failure(
                "conflict", f"port {record.spec.name} gets the interface of port {other.spec.name}: rename it"
            )
