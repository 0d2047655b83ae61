"""Networks, ports, groups and routers as a whole, on a FreeBSD in memory: what is done, in which order; repairs."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest
from fake_system import FakeSystem, Link
from skep_helper.freebsd import network, usage
from skep_helper.freebsd.network import names, ports, reading, rules, server, vxlan
from skep_helper.freebsd.network.records import Records
from skep_helper.freebsd.network.routers import Router
from skep_helper.freebsd.network.stacks import Network
from skep_helper.handlers import Failure
from skep_helper.policy import Policy
from skep_helper.vocabulary import FilterRule, NetworkSpec, PortSpec, Rejected, RouterSpec, SetGroup
from skep_helper.vocabulary.network import FloatingAddress, Neighbour, PortForward, Remote, Route, RouterLeg, Subnet

D = "0123456789abcdef"


class World:
    def __init__(self, folder: Path) -> None:
        self.system = FakeSystem()
        self.policy = Policy(run=folder, uplinks=("em0", "bridge5"), forwarding=True)
        self.system.host("em0", "")

    def network(self, name: str = "net", **fields: object) -> NetworkSpec:
        spec = NetworkSpec(**{"name": name, "digest": D, "kind": "isolated", **fields})  # type: ignore[arg-type]
        Network(self.system, self.policy).apply(spec)
        return spec

    def port(self, name: str = "g.n0", **fields: object) -> PortSpec:
        known = {"name": name, "network": "net", "digest": D, "rules_digest": D, "mac": "02:00:00:00:00:05"}
        spec = PortSpec(**{**known, **fields})  # type: ignore[arg-type]
        ports.apply(self.system, self.policy, spec)
        return spec

    def read(self) -> reading.NetworkReading:
        return reading.read(self.system, self.policy)

    def stack(self, network: str = "net"):  # type: ignore[no-untyped-def]
        return self.system.stacks[self.system.jails[names.network_jail(network)]]

    def did(self) -> list[tuple[int, str]]:
        done, self.system.log = self.system.log, []
        return done

    def words(self) -> list[str]:
        """What was run since the last time, without the programs of guards."""
        return [f"{here} {command.split(' {')[0]}" for here, command in self.did()]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    monkeypatch.setattr(server.os, "kill", world.system.kill)
    return world


TAP = names.tap(Policy(), "g.n0")


def test_an_isolated_network(world: World) -> None:
    world.network()
    assert world.words() == [
        "0 /sbin/ifconfig -a",
        "1 /sbin/ifconfig bridge0 create",
        "1 /sbin/ifconfig epair create",
        f"1 /sbin/ifconfig epair0a ether {names.mac('net', 'gw0')} name gw0 mtu 1500",
        "1 /sbin/ifconfig epair0b name gwport0 mtu 1500",
        "1 /sbin/ifconfig lo0 up",
        "1 /sbin/ifconfig bridge0 -arp up",
        "1 /sbin/pfctl -q -f -",
        "1 /sbin/pfctl -q -a open/gw0 -f -",
        "1 /sbin/pfctl -q -a open/gwport0 -f -",
        "1 /sbin/ifconfig gwport0 mtu 1500 -arp up",
        "1 /sbin/ifconfig bridge0 addm gwport0",
        "1 /sbin/ifconfig gw0 mtu 1500 up",
        "1 /sbin/ifconfig gw0",
    ]
    stack = world.stack()
    assert stack.sysctls["net.link.bridge.pfil_bridge"] == 0
    assert stack.sysctls["net.link.bridge.pfil_member"] == 1
    assert stack.pf
    (found,) = world.read().networks
    assert (found.digest, found.missing) == (D, "")


def test_a_network_that_stands_is_left_alone(world: World) -> None:
    world.network()
    world.did()
    world.network()
    assert world.did() == []


def test_a_tap_has_rules_and_guard_before_it_is_up(world: World) -> None:
    world.network()
    world.did()
    world.port()
    assert world.words() == [
        f"0 /sbin/ifconfig tap create name {TAP}",
        f"0 /sbin/ifconfig {TAP} mtu 1500 description skep port g.n0",
        f"0 /sbin/ifconfig {TAP} vnet 1",
        f"1 /sbin/pfctl -q -a sg/{TAP} -f -",
        "1 /usr/sbin/ngctl -f -",
        f"1 /usr/sbin/ngctl msg {TAP}g: setprogram",
        f"1 /usr/sbin/ngctl msg {TAP}g: setprogram",
        f"1 /sbin/ifconfig bridge0 addm {TAP}",
        f"1 /sbin/ifconfig bridge0 -learn {TAP} -discover {TAP} static {TAP} 02:00:00:00:00:05",
        f"1 /sbin/ifconfig {TAP} -arp up",
    ]
    (found,) = world.read().ports
    assert (found.digest, found.interface, found.up) == (D, TAP, True)
    world.did()
    world.port()
    assert world.did() == []


def test_a_rule_change_loads_that_anchor_only(world: World) -> None:
    world.network()
    world.port()
    world.did()
    world.port(rules=(FilterRule(direction="in", family="ipv4", protocol="tcp", first=80),), rules_digest="f" * 16)
    assert world.words() == [f"1 /sbin/pfctl -q -a sg/{TAP} -f -", f"1 /sbin/pfctl -i {TAP} -vv -s states"]


STATES = """\
{tap} tcp 10.0.0.1:80 <- 10.0.0.5:1000       ESTABLISHED:ESTABLISHED
   id: 0000000000000001 creatorid: 8b21ddcf gateway: 0.0.0.0
{tap} tcp 10.0.0.6:2000 -> 10.0.0.5:80       ESTABLISHED:ESTABLISHED
   id: 0000000000000002 creatorid: 8b21ddcf gateway: 0.0.0.0
{tap} tcp 10.0.0.6:2001 -> 10.0.0.5:81       ESTABLISHED:ESTABLISHED
   id: 0000000000000003 creatorid: 8b21ddcf gateway: 0.0.0.0
"""


def test_a_rule_change_ends_what_is_not_allowed_any_more(world: World) -> None:
    world.network()
    world.port()
    world.stack().states = STATES.format(tap=TAP)
    world.did()
    allowed = FilterRule(direction="in", family="ipv4", protocol="tcp", first=80)
    world.port(rules=(allowed, FilterRule(direction="out", family="ipv4")), rules_digest="f" * 16)
    ended = [word for word in world.words() if "-k" in word or "-F" in word]
    assert ended == ["1 /sbin/pfctl -q -k id -k 0000000000000003/8b21ddcf"]
    world.port(rules=(), rules_digest="e" * 16)
    assert [word for word in world.words() if "-k" in word or "-F" in word] == [f"1 /sbin/pfctl -q -i {TAP} -F states"]


def test_a_group_touches_no_anchor(world: World) -> None:
    world.network()
    world.port(rules=(FilterRule(direction="in", family="ipv4", group="web"),))
    world.did()
    group = SetGroup(network="net", group="web", addresses=("10.0.0.6/32", "fd00::6/128"))
    ports.change_group(world.system, world.policy, group)
    assert world.words() == [f"1 /sbin/pfctl -q -t {rules.table('web')} -T replace -f -"]
    assert world.stack().tables[rules.table("web")] == ["10.0.0.6/32", "fd00::6/128"]
    ports.change_group(world.system, world.policy, group)
    assert world.did() == []
    world.stack().states = STATES.format(tap=TAP)
    ports.change_group(world.system, world.policy, replace(group, addresses=("fd00::6/128",)))
    assert world.words()[1:] == [f"1 /sbin/pfctl -i {TAP} -vv -s states", f"1 /sbin/pfctl -q -i {TAP} -F states"]
    ports.change_group(world.system, world.policy, replace(group, addresses=()))
    assert world.stack().tables == {}
    assert world.read().groups == ()


def test_a_new_program_is_one_message(world: World) -> None:
    world.network()
    world.port()
    before = world.stack().programs[f"{TAP}g"]
    world.did()
    world.port(addresses=("10.0.0.9",), digest="f" * 16)
    assert [word for word in world.words() if "ngctl" in word] == [f"1 /usr/sbin/ngctl msg {TAP}g: setprogram"]
    assert world.stack().programs[f"{TAP}g"] != before
    world.port(guarded=False, filtered=False, digest="e" * 16)
    assert world.stack().nodes == {}
    assert world.read().ports[0].digest == "e" * 16


def test_rules_without_a_guard_keep_tags_out(world: World) -> None:
    world.network()
    spec = world.port(guarded=False)
    assert f"{TAP}g" in world.stack().programs
    assert world.read().ports[0].digest == spec.digest


def test_a_tap_goes_to_its_guest_and_back(world: World) -> None:
    """bhyve opens it in the guest's jail; only then it comes into the network, with its guard made anew."""
    world.network()
    world.port()
    guest = world.system.make_jail("g")
    assert ports.lend(world.policy, "g.n0", guest, world.system) == "tap0"
    assert TAP in world.system.stacks[guest].links
    assert world.stack().nodes == {}
    with pytest.raises(Failure, match="about to open its tap"):
        ports.remove(world.system, world.policy, "g.n0", "net")
    assert TAP in world.system.stacks[guest].links
    (found,) = world.read().ports
    assert (found.digest, found.up) == (D, False)
    world.did()
    world.port(addresses=("10.0.0.9",), digest="f" * 16)
    assert world.did() == []
    tap: Link = world.system.stacks[guest].links[TAP]
    tap.opened = tap.up = True
    ports.take(world.policy, "g.n0", world.system)
    assert world.stack().links[TAP] is tap
    assert "10.0.0.9" not in world.stack().programs[f"{TAP}g"]
    (found,) = world.read().ports
    assert (found.digest, found.up) == ("f" * 16, True)
    with pytest.raises(Failure, match=r"g\.n0.*open"):
        ports.lend(world.policy, "g.n0", guest, world.system)
    with pytest.raises(Failure, match="stop the guest"):
        ports.remove(world.system, world.policy, "g.n0", "net")
    tap.opened = tap.up = False
    assert ports.lend(world.policy, "g.n0", guest, world.system) == "tap0"
    world.system.remove_jail(guest)
    assert world.read().ports[0].digest == ""
    world.port(addresses=("10.0.0.9",), digest="f" * 16)
    assert world.read().ports[0].digest == "f" * 16
    assert world.stack().links[TAP] is tap


def test_a_port_that_a_guest_gave_back_by_its_end_is_removed(world: World) -> None:
    world.network()
    world.port()
    guest = world.system.make_jail("g")
    ports.lend(world.policy, "g.n0", guest, world.system)
    world.system.remove_jail(guest)
    ports.remove(world.system, world.policy, "g.n0", "net")
    assert list(world.system.stacks[0].links) == ["em0"]
    assert world.read().ports == ()


def test_no_request_about_networks_holds_up_others() -> None:
    """They wait for one another and for the kernel: each has a process of its own."""
    assert set(network.HANDLERS) == network.LONG


def test_a_port_is_removed_with_everything(world: World) -> None:
    world.network()
    world.port()
    world.did()
    ports.remove(world.system, world.policy, "g.n0", "net")
    assert world.words() == [
        f"1 /sbin/ifconfig {TAP} down",
        f"1 /usr/sbin/ngctl shutdown {TAP}g:",
        f"1 /usr/sbin/ngctl shutdown {TAP}v:",
        f"1 /sbin/pfctl -q -a sg/{TAP} -F rules",
        f"1 /sbin/pfctl -q -i {TAP} -F states",
        f"0 /sbin/ifconfig {TAP} -vnet 1",
        f"0 /sbin/ifconfig {TAP} destroy",
    ]
    ports.remove(world.system, world.policy, "g.n0", "net")
    assert world.did() == []
    assert list(world.system.stacks[0].links) == ["em0"]


def test_a_jail_that_died_is_made_again(world: World) -> None:
    world.network()
    world.port()
    world.stack().links[TAP].opened = True
    world.system.careless = True
    world.system.remove_jail(1)
    state = world.read()
    assert (state.networks[0].missing, state.ports[0].digest) == ("jail", "")
    world.network()
    world.port()
    state = world.read()
    assert (state.networks[0].digest, state.ports[0].digest) == (D, D)
    assert world.stack().links[TAP].opened


def test_what_is_missing_is_told_and_made(world: World) -> None:
    world.network(subnets=(Subnet(prefix="10.0.0.0/24", own="10.0.0.1"),))
    stack = world.stack()
    stack.pf, stack.dnsmasq = False, False
    stack.links["gwport0"].up = False
    assert world.read().networks[0].missing == "gwport0, pf (was off), dnsmasq"
    assert stack.pf
    world.network(subnets=(Subnet(prefix="10.0.0.0/24", own="10.0.0.1"),))
    assert world.read().networks[0].missing == ""


@pytest.mark.parametrize("seen", [True, False])
def test_a_main_ruleset_that_is_gone_is_told_where_it_can_be_seen(world: World, seen: bool) -> None:
    """`pfctl -F all` leaves the anchors (seen on 13.2), and without the main ruleset everything passes."""
    world.network()
    world.stack().main = ""
    if not seen:
        world.system.main_rules = lambda: -1  # type: ignore[method-assign]
    assert world.read().networks[0].missing == ("pf rules" if seen else "")
    world.network()
    assert world.stack().main.startswith("set skip") is seen


def test_addresses_and_server(world: World) -> None:
    spec = world.network(subnets=(Subnet(prefix="10.0.0.0/24", own="10.0.0.1", gateway="10.0.0.254"),))
    assert world.stack().links["gw0"].addresses == {"10.0.0.1/24"}
    assert world.stack().dnsmasq
    assert "1 /sbin/route -n add -inet default 10.0.0.254" in world.words()
    Network(world.system, world.policy).apply(
        replace(spec, digest="f" * 16, subnets=(Subnet(prefix="fd00::/64", own="fd00::1"),))
    )
    assert world.stack().links["gw0"].addresses == {"fd00::1/64"}
    done = world.words()
    assert "1 /sbin/route -n delete -inet default 10.0.0.254" in done
    assert "1 /sbin/ifconfig gw0 inet6 -ifdisabled auto_linklocal" in done
    Network(world.system, world.policy).apply(replace(spec, digest="e" * 16, subnets=()))
    assert not world.stack().dnsmasq


def test_nat(world: World) -> None:
    world.system.stacks[0].sysctls["net.inet.ip.forwarding"] = 0
    world.network(kind="nat", nat_prefix="100.64.0.4/30", subnets=(Subnet(prefix="10.0.0.0/24", own="10.0.0.1"),))
    ours, theirs = names.link(world.policy, "net", "n")
    assert world.system.stacks[0].links[ours].addresses == {"100.64.0.5/30"}
    assert world.stack().links[theirs].addresses == {"100.64.0.6/30"}
    assert f"nat on {theirs} inet from any to any -> 100.64.0.6\n" in world.stack().main
    assert "1 /sbin/route -n add -inet default 100.64.0.5" in world.words()
    assert world.system.stacks[0].sysctls["net.inet.ip.forwarding"] == 1
    assert world.read().networks[0].missing == ""
    Network(world.system, world.policy).remove("net")
    assert world.system.stacks[0].sysctls["net.inet.ip.forwarding"] == 0
    assert list(world.system.stacks[0].links) == ["em0"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"host_address": "192.0.2.2/24"}, "host_prefixes"),
        ({"host_address": "8.8.8.7/1"}, "host_prefixes"),
        ({"host_address": "127.0.0.2/8"}, "host_prefixes"),
        ({"host_address": "10.1.2.200/16"}, "overlaps 10.1.2.0/24 of the host's sk0"),
        ({"host_address": "fd00:5::2/48"}, "overlaps fd00:5::/64 of the host's sk0"),
        ({"kind": "nat", "nat_prefix": "8.8.8.0/24"}, "host_prefixes"),
        ({"kind": "nat", "nat_prefix": "10.1.2.4/30"}, "overlaps 10.1.2.0/24"),
        ({"kind": "flat", "uplink": "bridge5", "host_address": "192.0.2.2/24"}, "host_prefixes"),
    ],
)
def test_the_hosts_own_traffic_is_not_taken(world: World, fields: dict[str, str], reason: str) -> None:
    world.system.host("sk0", "", addresses={"10.1.2.3/24", "fd00:5::1/64"})  # sk(4), not an interface of Skep
    world.system.host("bridge5", "bridge", members=["em0"], addresses={"10.9.0.1/24"})
    with pytest.raises(Rejected, match=reason):
        world.network("taker", **fields)
    assert world.system.jails == {}
    assert world.read().networks == ()


def test_skeps_own_addresses_and_those_of_an_uplink_are_no_obstacle(world: World) -> None:
    world.system.host("bridge5", "bridge", members=["em0"], addresses={"10.9.0.1/24"})
    world.network("lan", kind="flat", uplink="bridge5", host_address="10.9.0.2/24")
    fields = {"kind": "nat", "nat_prefix": "100.64.0.4/30", "host_address": "10.0.0.3/24"}
    world.network(**fields)
    world.network(**{**fields, "digest": "f" * 16})
    assert world.read().networks[1].digest == "f" * 16


def test_a_route_comes_back_with_its_interface(world: World) -> None:
    """The address of the host on the network changes: every way out is made again."""
    fields = {"kind": "nat", "nat_prefix": "100.64.0.4/30", "subnets": (Subnet(prefix="10.0.0.0/24", own="10.0.0.1"),)}
    world.network(**fields)
    world.did()
    world.network(**fields, host_address="10.0.0.3/24")
    assert "1 /sbin/route -n add -inet default 100.64.0.5" in world.words()
    world.network(**fields, host_address="10.0.0.3/24", forwarders=("192.0.2.53",))
    assert [word for word in world.words() if "sbin/route" in word] == []


def test_nat_needs_the_administrators_line(world: World) -> None:
    world.system.stacks[0].sysctls["net.inet.ip.forwarding"] = 0
    world.policy = replace(world.policy, forwarding=False)
    with pytest.raises(Rejected, match="gateway_enable"):
        world.network(kind="nat", nat_prefix="100.64.0.4/30")


def test_a_vlan_is_moved_in(world: World) -> None:
    world.network(kind="vlan", uplink="em0", vlan=100)
    ours = names.vlan(world.policy, "net")
    assert world.words()[1:3] == [
        f"0 /sbin/ifconfig vlan create vlan 100 vlandev em0 name {ours}",
        f"0 /sbin/ifconfig {ours} vnet 1",
    ]
    assert world.stack().links["bridge0"].members == ["gwport0", ours]
    assert world.stack().anchors[f"open/{ours}"] == f"pass quick on {ours} all no state\n"
    Network(world.system, world.policy).remove("net")
    assert world.words()[-2:] == [f"0 /sbin/ifconfig {ours} -vnet 1", f"0 /sbin/ifconfig {ours} destroy"]


def test_a_vlan_of_a_parent_that_sends_no_longer_frames_has_less_room(world: World) -> None:
    world.system.host("tap3", "tap", long_frames=False)
    world.policy = replace(world.policy, uplinks=("tap3",))
    with pytest.raises(
        Rejected, match="VLAN 100 of tap3 can have at most an MTU of 1496: set mtu = 1496, or give tap3"
    ):
        world.network(kind="vlan", uplink="tap3", vlan=100)
    assert names.vlan(world.policy, "net") not in world.system.stacks[0].links
    world.network(kind="vlan", uplink="tap3", vlan=100, mtu=1496)
    assert world.stack().links["bridge0"].mtu == 1496


def test_a_vlan_with_addresses_joins_no_bridge_on_a_later_release(world: World) -> None:
    world.system.host("em0.100", "vlan", vlan=(100, "em0"), addresses={"192.0.2.5/24"})
    world.system.member_addresses = False
    with pytest.raises(Failure, match=r"put em0\.100 into a bridge of your own and its addresses onto that"):
        world.network(kind="vlan", uplink="em0", vlan=100)


def test_a_vlan_that_the_host_has_gives_its_mtu(world: World) -> None:
    world.system.host("em0.100", "vlan", vlan=(100, "em0"), mtu=1496)
    with pytest.raises(Rejected, match=r"VLAN 100 of em0 is em0\.100 on this host and has an MTU of 1496"):
        world.network(kind="vlan", uplink="em0", vlan=100)
    world.network(kind="vlan", uplink="em0", vlan=100, mtu=1496)


@pytest.mark.parametrize("bridged", [False, True])
def test_a_vlan_that_the_host_has_stays_there(world: World, bridged: bool) -> None:
    world.system.host("em0.100", "vlan", vlan=(100, "em0"), addresses={"192.0.2.5/24"})
    if bridged:
        world.system.host("bridge7", "bridge", members=["em0.100"])
    world.network(kind="vlan", uplink="em0", vlan=100)
    ours, theirs = names.link(world.policy, "net", "u")
    bridge = "bridge7" if bridged else names.host_bridge(world.policy, "net")
    assert world.system.stacks[0].links[bridge].members == ["em0.100", ours]
    assert theirs in world.stack().links["bridge0"].members
    Network(world.system, world.policy).remove("net")
    assert world.system.stacks[0].links["em0.100"].addresses == {"192.0.2.5/24"}
    assert set(world.system.stacks[0].links) == {"em0", "em0.100", *(["bridge7"] if bridged else [])}


def test_flat_needs_a_bridge(world: World) -> None:
    with pytest.raises(Failure, match="put it into one"):
        world.network(kind="flat", uplink="em0")
    world.system.host("bridge5", "bridge", members=["em0"])
    world.network(kind="flat", uplink="bridge5", host_address="10.0.0.3/24")
    ours, theirs = names.link(world.policy, "net", "u")
    host, inside = names.link(world.policy, "net", "h")
    assert world.system.stacks[0].links["bridge5"].members == ["em0", ours]
    assert world.system.stacks[0].links[host].addresses == {"10.0.0.3/24"}
    assert world.stack().links["bridge0"].members == ["gwport0", theirs, inside]
    with pytest.raises(Rejected, match="set mtu = 1500"):
        world.network("small", kind="flat", uplink="bridge5", mtu=1400)
    with pytest.raises(Rejected, match=r"em9.*em0, bridge5"):
        world.network("other", kind="flat", uplink="em9")


def test_a_bridge_that_was_made_anew_is_joined_again(world: World) -> None:
    """As `service netif restart bridge5` does with a cloned interface of rc.conf."""
    world.system.host("bridge5", "bridge", members=["em0"])
    spec = world.network(kind="flat", uplink="bridge5")
    ours, _ = names.link(world.policy, "net", "u")
    del world.system.stacks[0].links["bridge5"]
    assert world.read().networks[0].missing == f"{ours} in bridge5"
    bridge = world.system.host("bridge5", "bridge", members=["em0"])
    assert world.read().networks[0].missing == f"{ours} in bridge5"
    assert world.read().networks[0].digest == ""
    Network(world.system, world.policy).apply(spec)
    assert bridge.members == ["em0", ours]
    assert world.read().networks[0].digest == spec.digest


def test_a_vxlan_stays_on_the_host(world: World) -> None:
    peers = (Remote(address="192.0.2.2", macs=("02:00:00:00:00:22",)), Remote(address="192.0.2.3"))
    spec = world.network(kind="vxlan", vni=77, local="192.0.2.1", remotes=peers, mtu=1450)
    ours, bridge = names.vxlan(world.policy, "net"), names.host_bridge(world.policy, "net")
    create = "/sbin/ifconfig vxlan create vxlanid 77 vxlanlocal 192.0.2.1 vxlanremote 192.0.2.2"
    assert f"0 {create} name {ours}" in world.words()
    assert world.system.stacks[0].links[bridge].members == [ours, names.link(world.policy, "net", "u")[0]]
    assert world.system.driven[1:] == [(ours, vxlan.ADD, vxlan.entry("02:00:00:00:00:22", "192.0.2.2"))]
    assert {link.mtu for name, link in world.stack().links.items() if name != "lo0"} == {1450}
    more = (peers[0], Remote(address="192.0.2.3", macs=("02:00:00:00:00:33",)))
    Network(world.system, world.policy).apply(replace(spec, remotes=more, digest="f" * 16))
    assert world.system.driven[-1] == (ours, vxlan.ADD, vxlan.entry("02:00:00:00:00:33", "192.0.2.3"))
    assert [word for word in world.words() if "destroy" in word or "create" in word] == []


def test_members_of_a_bridge_answer_no_arp(world: World) -> None:
    """They would, for any address of their stack, each with a MAC of its own."""
    peers = (Remote(address="192.0.2.2"),)
    world.network(kind="vxlan", vni=77, local="192.0.2.1", remotes=peers, mtu=1450)
    world.port()
    bridges = [(s, link) for s in world.system.stacks.values() for link in s.links.values() if link.kind == "bridge"]
    for stack, bridge in bridges:
        assert {name for name in bridge.members if not stack.links[name].silent} == set()
    assert all(bridge.silent for _, bridge in bridges)
    assert len(bridges) == 2


def test_ports_behind_other_peers_are_answered_for(world: World) -> None:
    far = Neighbour(mac="02:00:00:00:00:33", addresses=("10.0.0.33", "fd00::33"))
    peers = (Remote(address="192.0.2.2"), Remote(address="192.0.2.3", macs=(far.mac,), neighbours=(far,)))
    spec = world.network(kind="vxlan", vni=77, local="192.0.2.1", remotes=peers, mtu=1450)
    mac = bytes.fromhex("020000000033")
    assert world.stack().answered == {bytes([10, 0, 0, 33]): mac, ipaddress.ip_address("fd00::33").packed: mac}
    world.stack().answered = None  # it died
    assert world.read().networks[0].missing == "answers for neighbours"
    Network(world.system, world.policy).apply(spec)
    assert world.read().networks[0].missing == ""
    fewer = replace(far, addresses=("10.0.0.33",))
    spec = replace(spec, remotes=(peers[0], replace(peers[1], neighbours=(fewer,))), digest="e" * 16)
    Network(world.system, world.policy).apply(spec)
    assert world.stack().answered == {bytes([10, 0, 0, 33]): mac}
    Network(world.system, world.policy).apply(replace(spec, remotes=peers[:1], digest="f" * 16))
    assert world.stack().answered is None
    assert world.read().networks[0].missing == ""


def test_one_mtu_for_all_members(world: World) -> None:
    spec = world.network()
    world.port()
    Network(world.system, world.policy).apply(replace(spec, mtu=1400, digest="f" * 16))
    assert {link.mtu for name, link in world.stack().links.items() if name != "lo0"} == {1400}
    assert sorted(world.stack().links["bridge0"].members) == sorted(["gwport0", TAP])


def test_no_node_of_a_guard_is_left_to_a_jail_that_ends(world: World) -> None:
    """Two that hold each other panic the kernel at the stack's end."""
    world.network()
    world.stack().nodes.update({"skp0g": ("bpf", 1), "skp0v": ("vlan", 1)})
    Network(world.system, world.policy).remove("net")
    assert "1 /usr/sbin/ngctl shutdown skp0g:" in world.words()
    assert world.system.jails == {}


def test_what_is_used_is_not_removed(world: World) -> None:
    world.network()
    world.port()
    with pytest.raises(Failure, match=r"used by g\.n0"):
        Network(world.system, world.policy).remove("net")


def test_a_foreign_jail_is_not_taken_for_ours(world: World) -> None:
    world.system.make_jail(names.network_jail("net"))
    with pytest.raises(Failure, match="not made by Skep"):
        world.network()


def test_a_crash_between_jail_and_record_is_repaired(world: World) -> None:
    world.network()
    records = Records(world.policy)
    record = records.network("net")
    assert record is not None
    record.jid, record.done = 0, False
    records.save(record)
    world.network()
    assert world.read().networks[0].digest == D


def test_tagged_vlans_into_a_guest_are_refused(world: World) -> None:
    world.network()
    with pytest.raises(Failure, match="VLANs"):
        world.port(vlans=(5,))


ROUTER = RouterSpec(
    name="r",
    digest=D,
    legs=(
        RouterLeg(network="wan", addresses=("192.0.2.10/24",), mac="02:00:00:00:01:01", snat=True),
        RouterLeg(network="net", addresses=("10.0.0.1/24", "fd00::1/64"), mac="02:00:00:00:01:02"),
    ),
    routes=(Route(prefix="0.0.0.0/0", via="192.0.2.1"),),
    floating=(FloatingAddress(outside="192.0.2.20", inside="10.0.0.5"),),
    forwards=(PortForward(protocol="tcp", outside="192.0.2.10", outside_port=8080, inside="10.0.0.6", inside_port=80),),
)


def test_a_router(world: World) -> None:
    world.network("wan")
    world.network("net")
    world.did()
    Router(world.system, world.policy).apply(ROUTER)
    stack = world.system.stacks[world.system.jails["skep_r_r"]]
    (wan_port, wan), (net_port, net) = (names.leg(world.policy, "r", network) for network in ("wan", "net"))
    assert stack.links[wan].addresses == {"192.0.2.10/24", "192.0.2.20/32"}
    assert stack.links[net].addresses == {"10.0.0.1/24", "fd00::1/64"}
    assert wan_port in world.stack("wan").links["bridge0"].members
    assert world.stack("net").anchors[f"open/{net_port}"]
    assert stack.main == (
        "set skip on lo0\n"
        "scrub in inet all fragment reassemble\n"
        f"nat on {net} inet from 10.0.0.5 to any tagged HAIRPIN -> 192.0.2.20\n"
        f"nat on {net} inet from any to any tagged HAIRPIN -> 192.0.2.10\n"
        f"nat on {wan} inet from 10.0.0.5 to any -> 192.0.2.20\n"
        f"nat on {wan} inet from any to any -> 192.0.2.10\n"
        f"rdr on {wan} inet proto tcp from any to 192.0.2.10 port 8080 -> 10.0.0.6 port 80\n"
        f"rdr on {wan} inet from any to 192.0.2.20 -> 10.0.0.5\n"
        f"rdr on {net} inet proto tcp from any to 192.0.2.10 port 8080 tag HAIRPIN -> 10.0.0.6 port 80\n"
        f"rdr on {net} inet from any to 192.0.2.20 tag HAIRPIN -> 10.0.0.5\n"
        "pass all no state\n"
    )
    assert world.read().routers[0].digest == D
    assert "3 /sbin/route -n add -inet default 192.0.2.1" in world.words()
    Router(world.system, world.policy).apply(ROUTER)
    assert world.did() == []


def test_a_router_is_changed_in_place_and_removed(world: World) -> None:
    world.network("wan")
    world.network("net")
    Router(world.system, world.policy).apply(ROUTER)
    world.did()
    Router(world.system, world.policy).apply(replace(ROUTER, floating=(), digest="f" * 16))
    done = world.words()
    assert "3 /sbin/pfctl -q -k 10.0.0.5" in done
    assert [word for word in done if "create" in word or "destroy" in word] == []
    Router(world.system, world.policy).apply(replace(ROUTER, floating=(), forwards=(), legs=ROUTER.legs[:1]))
    net_port = names.leg(world.policy, "r", "net")[0]
    assert net_port not in world.stack("net").links
    Router(world.system, world.policy).remove("r")
    assert "skep_r_r" not in world.system.jails
    assert world.stack("wan").links["bridge0"].members == ["gwport0"]
    Router(world.system, world.policy).apply(ROUTER)
    with pytest.raises(Failure, match="used by router r"):
        Network(world.system, world.policy).remove("wan")


def test_a_reading_starts_no_process(world: World) -> None:
    for number in range(20):
        world.network(f"n{number}")
        world.port(f"g{number}.n0", network=f"n{number}")
    world.did()
    state = world.read()
    assert (len(state.networks), len(state.ports)) == (20, 20)
    assert all(port.digest == D for port in state.ports)
    assert world.did() == []


def test_what_ports_moved_is_asked_in_one_fork_of_each_jail(world: World) -> None:
    world.network()
    world.port()
    world.port("g.n1", mac="02:00:00:00:00:06")
    for name, moved in (("g.n0", 7), ("g.n1", 9)):
        link = world.stack().links[names.tap(world.policy, name)]
        link.received, link.sent = moved, 10 * moved
    world.did()
    missing: list[str] = []
    found = list(usage.ports(world.policy, world.system, missing))
    # What a tap received, its guest sent.
    assert [(one.name, one.received, one.sent) for one in found] == [("g.n0", 70, 7), ("g.n1", 90, 9)]
    assert (world.did(), missing) == ([], [])
    world.system.jails.clear()
    assert list(usage.ports(world.policy, world.system, missing)) == []
