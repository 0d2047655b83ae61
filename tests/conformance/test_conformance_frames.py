"""Guard and rules, with real frames on real taps: what arrives at another guest, and what does not."""

from __future__ import annotations

import network_frames as f
from conformance_lab import only_on, variants
from conformance_taps import Taps, taps
from network_forgeries import (
    BAD,
    GOOD,
    UNSENDABLE,
    Pair,
    a_change_holds_at_once,
    all_pass_without_a_guard,
    honest_fragments_pass,
    reaches,
)
from network_rules import SCENARIOS, World, group_addresses_are_judged_packet_by_packet
from skep_helper.vocabulary import FilterRule
from skepd.host import Host

NEITHER_IP_NOR_ARP = ("tagged by a provider", "tagged twice", "another ether type")
"""What does not cross the bridge at all (net.link.bridge.pfil_onlyip)."""
ROUTED = ("ra behind a routing header", "ra behind three headers")
"""What pf drops whatever its rules say."""
_SCENARIO = {
    scenario.__name__: scenario for scenario in SCENARIOS if scenario is not group_addresses_are_judged_packet_by_packet
}
"""pf knows nothing of the frame that a packet came in, see test_a_packet_in_a_broadcast_frame_is_judged_like_others."""


def pair(lab: Taps, short: str = "guard") -> Pair:
    network = lab.network(short)
    return Pair(lab.port(network, 5), lab.port(network, 6))


@only_on("freebsd")
def test_forged_frames_are_dropped(host: Host) -> None:
    with taps(host) as lab:
        own = pair(lab)
        arrived = {case: found for case, frames in BAD.items() if (found := reaches(own, *frames))}
    # A later fragment passes by its source; it is nothing without the first, which must be dropped.
    wrong = {case: found for case, found in arrived.items() if "fragment" not in case or BAD[case][0] in found}
    assert wrong == {}, wrong


@only_on("freebsd")
def test_honest_frames_pass(host: Host) -> None:
    with taps(host) as lab:
        own = pair(lab)
        wrong = {case: found for case, frames in GOOD.items() if (found := reaches(own, *frames)) != frames}
        honest_fragments_pass(own)
    assert wrong == {}, wrong


@only_on("freebsd")
def test_without_a_guard_forged_frames_pass(host: Host) -> None:
    """Neither has one: a bridge of FreeBSD looks for a MAC within the frame's VLAN, so it does not know where a tagged
    frame goes to, and sends it to the ports that are not guarded."""
    with taps(host) as lab:
        network = lab.network("guard")
        own = Pair(lab.port(network, 5, guarded=False), lab.port(network, 6, guarded=False))
        all_pass_without_a_guard(own, (*UNSENDABLE, *NEITHER_IP_NOR_ARP, *ROUTED))


@only_on("freebsd")
def test_a_changed_guard_holds_at_once(host: Host) -> None:
    with taps(host) as lab:
        a_change_holds_at_once(lab.change, pair(lab))


@only_on("freebsd")
@variants(scenario=tuple(_SCENARIO))
def test_rules(host: Host, scenario: str) -> None:
    with taps(host) as lab:
        _SCENARIO[scenario](World(lab))


@only_on("freebsd")
def test_a_packet_in_a_broadcast_frame_is_judged_like_others(host: Host) -> None:
    """By its addresses and ports; one that is allowed begins a flow as any other does."""
    with taps(host) as lab:
        world = World(lab)
        world.let(FilterRule(direction="in", family="ipv4", protocol="udp", first=53))
        for port, passes in ((54, False), (53, True)):
            frame = world.client.udp(world.server, b"question", 1000, port)
            assert world.passes(world.client, world.server, f.mac(f.BROADCAST) + frame[6:]) is passes, port
            assert world.passes(world.server, world.client, world.server.udp(world.client, b"answer", port)) is False
        assert world.passes(world.server, world.client, world.server.udp(world.client, b"answer", 53, 1000))


@only_on("freebsd")
def test_equal_addresses_in_two_networks_never_meet(host: Host) -> None:
    with taps(host) as lab:
        here, there = pair(lab, "here"), pair(lab, "there")
        there.victim.drain()
        here.sender.send(here.sender.udp(here.victim, b"of-here"))
        there.sender.send(there.sender.udp(there.victim, b"of-there"))
        assert any(b"of-here" in frame for frame in here.victim.until(b"of-here"))
        assert not any(b"of-here" in frame for frame in there.victim.until(b"of-there"))
