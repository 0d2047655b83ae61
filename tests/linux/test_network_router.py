"""Routers: what their guests send and get, with real packets."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator

import network_frames as f
import pytest
from network_lab import Guest, Lab, own_stack
from skep_helper.handlers import Failure
from skep_helper.linux.network import names
from skep_helper.vocabulary import Rejected, RemoveNetwork, RouterSpec
from skep_helper.vocabulary.network import FloatingAddress, PortForward, Route, RouterLeg

pytestmark = pytest.mark.real

OUTER_MAC, INNER_MAC = "02:00:00:00:01:01", "02:00:00:00:01:02"
FLOATING = (
    FloatingAddress(outside="198.51.100.15", inside="10.0.0.5"),
    FloatingAddress(outside="198.51.100.16", inside="10.0.0.6"),
)


class World:
    """An outer network 198.51.100.0/24 and an inner 10.0.0.0/24, and a router between them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        outer, inner = lab.network("outer"), lab.network("inner")
        self.outside = lab.port(outer, 9, addresses=("198.51.100.9", "2001:db8:1::9"))
        self.first = lab.port(inner, 5, addresses=("10.0.0.5", "2001:db8:2::5"))
        self.second = lab.port(inner, 6, addresses=("10.0.0.6",))
        self.legs = (
            RouterLeg(network=outer.name, addresses=("198.51.100.1/24", "2001:db8:1::1/64"), mac=OUTER_MAC, snat=True),
            RouterLeg(network=inner.name, addresses=("10.0.0.1/24", "2001:db8:2::1/64"), mac=INNER_MAC),
        )

    def router(self, **fields: object) -> RouterSpec:
        return self.lab.router("router", **{"legs": self.legs, **fields})


@pytest.fixture
def world() -> Iterator[World]:
    with own_stack():
        lab = Lab()
        try:
            yield World(lab)
        finally:
            lab.close()


def send(sender: Guest, gateway: str, destination: str, sport: int, dport: int, data: bytes) -> None:
    source = sender.address if ":" not in destination else sender.address6
    make, kind = (f.ipv6, f.IPV6) if ":" in destination else (f.ipv4, f.IPV4)
    sender.send(
        f.ether(
            sender.mac, gateway, kind, make(source, destination, f.UDP, f.udp(source, destination, sport, dport, data))
        )
    )


def got(receiver: Guest, data: bytes, within: float = 0.0) -> tuple[str, str, int, int]:
    """(source, destination, source port, destination port) of the datagram with this data.

    within: seconds of silence after which TimeoutError is raised; 0 waits as long as a test may.
    """
    if within and not select.select([receiver.descriptor], [], [], within)[0]:
        raise TimeoutError
    source, destination, payload = f.packet(receiver.until(data, answer=True)[-1])
    return source, destination, int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")


def arrives(sender: Guest, gateway: str, destination: str, data: bytes, receiver: Guest) -> tuple[str, str, int, int]:
    """What `got` says, of a datagram that is sent again until it arrives: a leg just made may lose the first."""
    for number in range(30):
        send(sender, gateway, destination, 1000 + number, 53, data)
        with contextlib.suppress(TimeoutError):
            return got(receiver, data, 1.0)
    raise AssertionError(f"{data!r} did not arrive")


def test_what_leaves_gets_the_address_of_the_leg(world: World) -> None:
    world.router()
    send(world.first, INNER_MAC, "198.51.100.9", 1000, 53, b"question")
    source, destination, port, _ = got(world.outside, b"question")
    assert (source, destination) == ("198.51.100.1", "198.51.100.9")
    send(world.outside, OUTER_MAC, "198.51.100.1", 53, port, b"answer")
    assert got(world.first, b"answer") == ("198.51.100.9", "10.0.0.5", 53, 1000)


def test_ipv6_is_routed_as_it_is(world: World) -> None:
    world.router()
    send(world.first, INNER_MAC, "2001:db8:1::9", 1000, 53, b"question")
    assert got(world.outside, b"question") == ("2001:db8:2::5", "2001:db8:1::9", 1000, 53)
    send(world.outside, OUTER_MAC, "2001:db8:2::5", 53, 1000, b"answer")
    assert got(world.first, b"answer") == ("2001:db8:1::9", "2001:db8:2::5", 53, 1000)


def test_floating_addresses_both_ways_and_back_inside(world: World) -> None:
    world.router(floating=FLOATING)
    send(world.outside, OUTER_MAC, "198.51.100.15", 1000, 22, b"from outside")
    assert got(world.first, b"from outside") == ("198.51.100.9", "10.0.0.5", 1000, 22)
    send(world.first, INNER_MAC, "198.51.100.9", 1001, 53, b"from inside")
    assert got(world.outside, b"from inside") == ("198.51.100.15", "198.51.100.9", 1001, 53)
    send(world.first, INNER_MAC, "198.51.100.16", 1002, 22, b"hairpin")
    assert got(world.second, b"hairpin") == ("198.51.100.15", "10.0.0.6", 1002, 22)
    send(world.second, INNER_MAC, "198.51.100.15", 22, 1002, b"and back")
    assert got(world.first, b"and back") == ("198.51.100.16", "10.0.0.5", 22, 1002)


def test_forwards_from_outside_and_inside(world: World) -> None:
    forward = PortForward(protocol="udp", outside="198.51.100.1", outside_port=5353, inside="10.0.0.5", inside_port=53)
    world.router(forwards=(forward,))
    send(world.outside, OUTER_MAC, "198.51.100.1", 1000, 5353, b"from outside")
    assert got(world.first, b"from outside") == ("198.51.100.9", "10.0.0.5", 1000, 53)
    send(world.second, INNER_MAC, "198.51.100.1", 1000, 5353, b"hairpin")
    assert got(world.first, b"hairpin")[:2] == ("198.51.100.1", "10.0.0.5")


def test_a_change_in_place_moves_a_floating_address_and_ends_its_flows(world: World) -> None:
    world.router(floating=FLOATING[:1])
    send(world.outside, OUTER_MAC, "198.51.100.15", 1000, 22, b"first")
    assert got(world.first, b"first")[1] == "10.0.0.5"
    inode = world.lab.inside(names.router_namespace(world.lab.name("router")), "readlink", "/proc/self/ns/net")
    world.router(floating=(FloatingAddress(outside="198.51.100.15", inside="10.0.0.6"),))
    send(world.outside, OUTER_MAC, "198.51.100.15", 1000, 22, b"second")
    assert got(world.second, b"second")[1] == "10.0.0.6"
    namespace = names.router_namespace(world.lab.name("router"))
    assert world.lab.inside(namespace, "readlink", "/proc/self/ns/net") == inode


def test_routes_and_legs_change_in_place(world: World) -> None:
    spec = world.router(routes=(Route(prefix="0.0.0.0/0", via="198.51.100.9"),))
    send(world.first, INNER_MAC, "203.0.113.7", 1000, 53, b"far")
    assert got(world.outside, b"far")[:2] == ("198.51.100.1", "203.0.113.7")
    world.router(legs=world.legs[:1])
    namespace = names.router_namespace(spec.name)
    assert "default" not in world.lab.inside(namespace, "ip", "route")
    assert names.leg(world.legs[1].network) not in world.lab.inside(namespace, "ip", "link")
    world.router()
    assert arrives(world.first, INNER_MAC, "198.51.100.9", b"again", world.outside)[0] == "198.51.100.1"


def test_a_missing_part_is_named_and_made_again(world: World) -> None:
    spec = world.router(floating=FLOATING)
    assert [r.digest for r in world.lab.read().routers] == [spec.digest]
    namespace = names.router_namespace(spec.name)
    world.lab.inside(namespace, "ip", "link", "del", names.leg(world.legs[1].network))
    world.lab.inside(namespace, "nft", "flush", "ruleset")
    router = world.lab.read().routers[0]
    assert (router.digest, router.missing) == ("", f"leg in {world.legs[1].network}, nft table")
    world.router(floating=FLOATING)
    assert world.lab.read().routers[0].digest == spec.digest
    send(world.outside, OUTER_MAC, "198.51.100.15", 1000, 22, b"works")
    assert got(world.first, b"works")[1] == "10.0.0.5"


def test_refusals(world: World) -> None:
    world.router()
    with pytest.raises(Failure, match=r"is used by .*: remove them first"):
        world.lab.do(RemoveNetwork(network=world.legs[1].network))
    with pytest.raises(Rejected, match="only IPv4"):
        world.router(floating=(FloatingAddress(outside="2001:db8::1", inside="2001:db8::2"),))
    with pytest.raises(Failure, match="not on this host"):
        world.router(legs=(RouterLeg(network="nowhere", addresses=("10.1.0.1/24",), mac=INNER_MAC),))
