"""The rules of ports, with real packets: what may begin, what comes back, what a change keeps and what it ends.

Each scenario gets a World; the platform's tests make one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import network_frames as f
from network_guest import Guest
from skep_helper.vocabulary import FilterRule, NetworkSpec, SetGroup

SYN, ACK, SYN_ACK, PUSH = 0x02, 0x10, 0x12, 0x18
OUT4, OUT6 = FilterRule(direction="out", family="ipv4"), FilterRule(direction="out", family="ipv6")


def tcp_in(first: int, last: int = -1, **fields: object) -> FilterRule:
    return FilterRule(direction="in", family="ipv4", protocol="tcp", first=first, last=last, **fields)  # type: ignore[arg-type]


class Lab(Protocol):
    """Networks and ports of a platform."""

    def network(self, short: str, **fields: Any) -> NetworkSpec: ...

    def port(self, network: NetworkSpec, number: int, **fields: Any) -> Guest: ...

    def change(self, guest: Guest, **fields: Any) -> None: ...

    def do(self, request: Any) -> Any: ...

    def read(self) -> Any: ...


class World:
    """Three guests on one network: client may send anything, server is what is tried, other is not filtered."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.network: NetworkSpec = lab.network("rules")
        self.client = lab.port(self.network, 5, filtered=True, rules=(OUT4, OUT6))
        self.server = lab.port(self.network, 6, filtered=True)
        self.other = lab.port(self.network, 7)

    def let(self, *rules: FilterRule) -> None:
        self.lab.change(self.server, rules=rules)

    def passes(self, sender: Guest, receiver: Guest, frame: bytes) -> bool:
        """Whether a frame arrives. An ARP request of the same sender, which no rule stops, follows it."""
        receiver.drain()
        request = f.arp(1, sender.mac, sender.address, f.BROADCAST, receiver.address)
        sender.send(frame, f.ether(sender.mac, receiver.mac, f.ARP, request))
        captured = receiver.until(request)
        return frame in captured

    def connect(self, port: int, source: int = 1000) -> bool:
        """A three-way handshake from client to server."""
        client, server = self.client, self.server
        ends = {"source": source, "destination": port}
        if not self.passes(client, server, client.tcp(server, SYN, sequence=100, ack=0, **ends)):
            return False
        back = {"source": port, "destination": source}
        assert self.passes(server, client, server.tcp(client, SYN_ACK, sequence=500, ack=101, **back))
        assert self.passes(client, server, client.tcp(server, ACK, sequence=101, ack=501, **ends))
        return True

    def talks(self, port: int, source: int = 1000) -> tuple[bool, bool]:
        """Whether data passes in the middle of that connection: (to the server, from the server)."""
        to = self.client.tcp(self.server, PUSH, b"question", source, port, 101, 501)
        fro = self.server.tcp(self.client, PUSH, b"answer", port, source, 501, 101)
        return self.passes(self.client, self.server, to), self.passes(self.server, self.client, fro)


def only_what_is_allowed_begins_and_its_answers_pass(world: World) -> None:
    assert not world.connect(80)
    world.let(tcp_in(80), tcp_in(8000, 8100))
    assert world.connect(80)
    assert world.connect(8050, 1001)
    assert not world.connect(81, 1002)
    assert world.talks(80) == (True, True)
    assert not world.passes(world.server, world.client, world.server.tcp(world.client, SYN, ack=0))


def a_flow_begins_only_when_both_sides_allow_it(world: World) -> None:
    world.let(tcp_in(80))
    world.lab.change(world.client, rules=())
    assert not world.connect(80)
    assert world.passes(world.other, world.server, world.other.tcp(world.server, SYN, destination=80, ack=0))


def a_change_keeps_what_stays_allowed_and_ends_the_rest(world: World) -> None:
    world.let(tcp_in(80), tcp_in(81))
    assert world.connect(80)
    assert world.connect(81, 1001)
    world.let(tcp_in(80))
    assert world.talks(80) == (True, True)
    assert world.talks(81, 1001) == (False, False)
    world.let()
    assert world.talks(80) == (False, False)


def a_cut_flow_is_not_taken_up_from_its_other_end(world: World) -> None:
    """The server may send anything: still, what it sends in the middle of a connection begins nothing."""
    out = FilterRule(direction="out", family="ipv4")
    world.let(tcp_in(80), out)
    assert world.connect(80)
    world.let(out)
    assert world.talks(80) == (False, False)


def rules_switched_on_keep_allowed_flows(world: World) -> None:
    world.lab.change(world.server, filtered=False)
    assert world.connect(80)
    assert world.connect(81, 1001)
    world.lab.change(world.server, filtered=True, rules=(tcp_in(80),))
    assert world.talks(80) == (True, True)
    assert world.talks(81, 1001) == (False, False)


def udp_over_ipv6(world: World) -> None:
    question = world.client.udp(world.server, b"question", 1000, 53, version=6)
    answer = world.server.udp(world.client, b"answer", 53, 1000, version=6)
    assert not world.passes(world.client, world.server, question)
    assert not world.passes(world.server, world.client, answer)
    world.let(FilterRule(direction="in", family="ipv6", protocol="udp", first=53))
    assert world.passes(world.client, world.server, question)
    assert world.passes(world.server, world.client, answer)
    world.let()
    assert not world.passes(world.client, world.server, question)
    assert not world.passes(world.server, world.client, answer)


def ping(sender: Guest, receiver: Guest, kind: int, version: int, number: int = 7) -> bytes:
    """number: what tells one conversation from another."""
    body = bytes((0, number, 0, 1))
    if version == 4:
        packet = f.ipv4(sender.address, receiver.address, f.ICMP, f.icmp4(kind, body))
        return f.ether(sender.mac, receiver.mac, f.IPV4, packet)
    ends = (sender.address6, receiver.address6)
    return f.ether(sender.mac, receiver.mac, f.IPV6, f.ipv6(*ends, f.ICMP6, f.icmp6(*ends, kind, body)))


def icmp_by_type(world: World) -> None:
    for version, request_, reply, other in ((4, 8, 0, 13), (6, 128, 129, 139)):
        by_type(world, version, request_, reply, other)


def by_type(world: World, version: int, request_: int, reply: int, other: int) -> None:
    world.let(FilterRule(direction="in", family=f"ipv{version}", protocol="icmp", first=request_, last=0))
    client, server = world.client, world.server
    assert world.passes(client, server, ping(client, server, request_, version))
    assert world.passes(server, client, ping(server, client, reply, version))
    assert not world.passes(server, client, ping(server, client, request_, version, 8))
    assert not world.passes(client, server, ping(client, server, other, version, 9))


def protocol_by_number_and_prefix(world: World) -> None:
    def gre(sender: Guest) -> bytes:
        packet = f.ipv4(sender.address, world.server.address, 47, b"\0\0\x08\0" + bytes(20))
        return f.ether(sender.mac, world.server.mac, f.IPV4, packet)

    world.let(FilterRule(direction="in", family="ipv4", number=47, remote="10.0.0.4/31"))
    assert world.passes(world.client, world.server, gre(world.client))
    assert not world.passes(world.other, world.server, gre(world.other))


def a_remote_group_changes_without_its_ports(world: World) -> None:
    def members(*addresses: str) -> None:
        world.lab.do(SetGroup(network=world.network.name, group="web", addresses=addresses))

    world.let(tcp_in(80, group="web"))
    assert not world.connect(80)
    members("10.0.0.5/32", "10.0.0.9/32", "fd00::5/128")
    assert world.connect(80)
    reading = world.lab.read()
    assert {address for group in reading.groups for address in group.addresses} == {
        "10.0.0.5/32", "10.0.0.9/32", "fd00::5/128"
    }  # fmt: skip
    members("10.0.0.5/32")
    assert world.talks(80) == (True, True)
    members("10.0.0.9/32")
    assert world.talks(80) == (False, False)
    members()
    assert not world.connect(80, 1003)
    assert world.lab.read().groups == ()


def stateless_rules_let_no_answer_back_by_themselves(world: World) -> None:
    question = world.client.udp(world.server, b"question", 1000, 53)
    answer = world.server.udp(world.client, b"answer", 53, 1000)
    udp_in = FilterRule(direction="in", family="ipv4", protocol="udp", first=53, stateless=True)
    world.let(udp_in)
    assert world.passes(world.client, world.server, question)
    assert not world.passes(world.server, world.client, answer)
    world.let(udp_in, FilterRule(direction="out", family="ipv4", protocol="udp", stateless=True))
    assert world.passes(world.client, world.server, question)
    assert world.passes(world.server, world.client, answer)


def group_addresses_are_judged_packet_by_packet(world: World) -> None:
    """A datagram in a broadcast frame begins no flow that would let an answer out."""
    client, server = world.client, world.server
    world.let(FilterRule(direction="in", family="ipv4", protocol="udp", first=53))
    frame = client.udp(server, b"question", 1000, 53)
    broadcast = f.mac(f.BROADCAST) + frame[6:]
    assert world.passes(client, server, broadcast)
    assert not world.passes(client, server, f.mac(f.BROADCAST) + client.udp(server, b"question", 1000, 54)[6:])
    assert not world.passes(server, client, server.udp(client, b"answer", 53, 1000))


def an_unguarded_port_passes_no_unknown_frames_through_its_rules(world: World) -> None:
    world.lab.change(world.server, guarded=False, rules=(OUT4,))
    tagged = f.tagged(world.server.tcp(world.other, SYN, ack=0), 5)
    assert not world.passes(world.server, world.other, tagged)
    assert not world.passes(world.server, world.other, f.ether(world.server.mac, world.other.mac, 0x8863, bytes(50)))
    assert world.passes(world.server, world.other, world.server.tcp(world.other, SYN, ack=0))


def errors_of_a_flow_pass_back(world: World) -> None:
    """Packet too big and the like belong to the flow they speak of."""
    world.let(tcp_in(80))
    assert world.connect(80)
    client, server = world.client, world.server
    inner = server.tcp(client, PUSH, b"answer", 80, 1000, 501, 101)[14 : 14 + 28]
    error = f.ipv4(client.address, server.address, f.ICMP, f.icmp4(3, bytes(4) + inner, code=4))
    assert world.passes(client, server, f.ether(client.mac, server.mac, f.IPV4, error))
    strange = f.icmp4(3, bytes(4) + server.tcp(client, PUSH, b"", 80, 1009)[14 : 14 + 28], code=4)
    error = f.ipv4(client.address, server.address, f.ICMP, strange)
    assert not world.passes(client, server, f.ether(client.mac, server.mac, f.IPV4, error))


SCENARIOS: tuple[Callable[[World], None], ...] = (
    only_what_is_allowed_begins_and_its_answers_pass,
    a_flow_begins_only_when_both_sides_allow_it,
    a_change_keeps_what_stays_allowed_and_ends_the_rest,
    a_cut_flow_is_not_taken_up_from_its_other_end,
    rules_switched_on_keep_allowed_flows,
    udp_over_ipv6,
    icmp_by_type,
    protocol_by_number_and_prefix,
    a_remote_group_changes_without_its_ports,
    stateless_rules_let_no_answer_back_by_themselves,
    group_addresses_are_judged_packet_by_packet,
    an_unguarded_port_passes_no_unknown_frames_through_its_rules,
    errors_of_a_flow_pass_back,
)
"""What every platform does alike."""
