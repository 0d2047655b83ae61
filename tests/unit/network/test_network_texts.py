"""What is generated for nft and dnsmasq, character by character, and the judgement of flows."""

from __future__ import annotations

from pathlib import Path

import pytest
from skep_helper.linux.network import dnsmasq, guard, names, nat, rules, translation
from skep_helper.linux.network.rules import Flow
from skep_helper.network import host_addresses
from skep_helper.policy import Policy
from skep_helper.vocabulary import FilterRule, NetworkSpec, PortSpec, RouterSpec
from skep_helper.vocabulary.network import AddressPair, FloatingAddress, Lease, PortForward, RouterLeg, Subnet

D = "0123456789abcdef"
MAC = "02:00:00:00:00:05"


def port(**fields: object) -> PortSpec:
    known = {"name": "g.n0", "network": "net", "digest": D, "rules_digest": D, "mac": MAC, "addresses": ("10.0.0.5",)}
    return PortSpec(**{**known, **fields})  # type: ignore[arg-type]


GUARD = """\
add table netdev skep
add chain netdev skep t { type filter hook ingress device "t" priority -500; policy drop; }
add chain netdev skep t-arp
add chain netdev skep t-ip4
add chain netdev skep t-ip6
flush chain netdev skep t
flush chain netdev skep t-arp
flush chain netdev skep t-ip4
flush chain netdev skep t-ip6
add rule netdev skep t-arp arp htype != 1 drop
add rule netdev skep t-arp arp ptype != 0x0800 drop
add rule netdev skep t-arp arp hlen != 6 drop
add rule netdev skep t-arp arp plen != 4 drop
add rule netdev skep t-arp arp operation != { request, reply } drop
add rule netdev skep t-arp ether saddr 02:00:00:00:00:05 arp saddr ether 02:00:00:00:00:05 \
arp saddr ip { 10.0.0.5 } accept
add rule netdev skep t-arp arp operation request ether saddr 02:00:00:00:00:05 arp saddr ether 02:00:00:00:00:05 \
arp saddr ip 0.0.0.0 arp daddr ip { 10.0.0.5 } accept
add rule netdev skep t-ip4 ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 ip frag-off & 0x3fff != 0 drop
add rule netdev skep t-ip4 udp sport 67 drop
add rule netdev skep t-ip4 ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
add rule netdev skep t-ip4 ether saddr 02:00:00:00:00:05 ip saddr { 10.0.0.5 } ip frag-off & 0x1fff != 0 \
meta l4proto != 255 accept
add rule netdev skep t-ip4 ether saddr 02:00:00:00:00:05 ip saddr { 10.0.0.5 } udp dport != 68 accept
add rule netdev skep t-ip4 ether saddr 02:00:00:00:00:05 ip saddr { 10.0.0.5 } meta l4proto != { udp, 255 } accept
"""


def test_guard() -> None:
    text = guard.script("t", port())
    assert text.startswith(GUARD)
    assert text.endswith(
        'add rule netdev skep t ether saddr != { 02:00:00:00:00:05 } drop\n'
        "add rule netdev skep t ether type { 8021q, 8021ad, 0x9100, 0x9200 } drop\n"
        "add rule netdev skep t meta protocol vmap "
        "{ ip : goto t-ip4, ip6 : goto t-ip6, arp : goto t-arp, 0x8035 : accept }\n"
    )  # fmt: skip


def test_an_unguarded_port_has_no_guard() -> None:
    text = guard.script("t", port(guarded=False))
    assert "accept" not in text
    assert "delete chain netdev skep t\n" in text


def test_prefix_zero_may_send_but_claims_nothing() -> None:
    text = guard.script("t", port(pairs=(AddressPair(mac=None, prefix="0.0.0.0/0"),)))
    assert "ip saddr { 0.0.0.0/0 } udp" in text
    assert "arp saddr ip { 10.0.0.5 } accept" in text


def test_nd_targets_of_prefixes_and_of_the_link_local_address() -> None:
    text = guard.script("t", port(addresses=("fd00::5",), pairs=(AddressPair(mac=None, prefix="fd00:1::/48"),)))
    for target in (
        "@th,64,128 0xfd000000000000000000000000000005 accept",
        "@th,64,48 0xfd0000010000 accept",
        "@th,64,128 0xfe80000000000000000000fffe000005 accept",
    ):
        assert text.count(target) == 2
    assert guard.link_local(MAC) == "fe80::ff:fe00:5"
    assert "-arp arp operation request" not in text


RULES = (
    FilterRule(direction="in", family="ipv4", protocol="tcp", first=22),
    FilterRule(direction="in", family="ipv6", protocol="udp", first=1, last=9, remote="fd00::/64"),
    FilterRule(direction="in", family="ipv4", protocol="icmp", first=8, last=0),
    FilterRule(direction="in", family="ipv6", protocol="icmp"),
    FilterRule(direction="out", family="ipv4", group="web", protocol="tcp"),
    FilterRule(direction="out", family="ipv4", number=47, remote="0.0.0.0/0", stateless=True),
)


def test_matches() -> None:
    assert [rules.match(rule) for rule in RULES] == [
        "meta protocol ip tcp dport 22-22",
        "meta protocol ip6 ip6 saddr fd00::/64 udp dport 1-9",
        "meta protocol ip icmp type 8 icmp code 0",
        "meta protocol ip6 meta l4proto 58",
        "meta protocol ip ip daddr @g4-web meta l4proto tcp",
        "meta protocol ip meta l4proto 47",
    ]


def test_chains_of_a_filtered_port() -> None:
    chains = rules.chains("t", port(rules=RULES[-2:]), 5)
    assert chains["out-t-begin"] == ["ct direction original ct mark set ct mark & 0x0000ffff | 0x80050000"]
    assert chains["out-t"][:3] == [
        "ct state invalid drop",
        "ct direction original ct mark & 0xffff0000 == 0x80050000 return",
        "ct direction reply ct mark & 0x0000ffff == 0x00008005 return",
    ]
    assert chains["out-t"][-3:] == [
        "meta protocol ip ip daddr @g4-web meta l4proto tcp goto out-t-begin",
        "meta protocol ip meta l4proto 47 return",
        "drop",
    ]
    assert chains["in-t"][-1] == "drop"


def test_chains_of_an_unfiltered_port() -> None:
    chains = rules.chains("t", port(filtered=False), 5)
    assert (chains["out-t"], chains["in-t"]) == (["goto out-t-begin"], ["goto in-t-begin"])


TO_SSH = Flow(source="192.0.2.1", destination="10.0.0.5", protocol=6, port=22)
FROM_WEB = Flow(source="10.0.0.5", destination="192.0.2.80", protocol=6, port=80)


@pytest.mark.parametrize(
    ("rule", "flow", "allowed"),
    [
        (RULES[0], TO_SSH, True),
        (RULES[0], Flow(source="192.0.2.1", destination="10.0.0.5", protocol=6, port=23), False),
        (RULES[0], Flow(source="192.0.2.1", destination="10.0.0.5", protocol=17, port=22), False),
        (RULES[1], Flow(source="fd00::9", destination="fd00::5", protocol=17, port=9), True),
        (RULES[1], Flow(source="fd01::9", destination="fd00::5", protocol=17, port=9), False),
        (RULES[2], Flow(source="192.0.2.1", destination="10.0.0.5", protocol=1, icmp=(8, 0)), True),
        (RULES[2], Flow(source="192.0.2.1", destination="10.0.0.5", protocol=1, icmp=(13, 0)), False),
        (RULES[3], Flow(source="fd00::9", destination="fd00::5", protocol=58, icmp=(128, 0)), True),
        (RULES[4], FROM_WEB, True),
        (RULES[4], Flow(source="10.0.0.5", destination="192.0.2.81", protocol=6, port=80), False),
        (RULES[5], Flow(source="10.0.0.5", destination="192.0.2.81", protocol=47), False),
    ],
)
def test_flows_are_judged_as_nft_does(rule: FilterRule, flow: Flow, allowed: bool) -> None:
    assert rules.allows(port(rules=(rule,)), rule.direction, flow, {"web": ["192.0.2.80/32"]}) is allowed
    other = "out" if rule.direction == "in" else "in"
    assert not rules.allows(port(rules=(rule,)), other, flow, {"web": ["192.0.2.80/32"]})
    assert rules.allows(port(rules=(rule,), filtered=False), other, flow, {})


NETWORK = NetworkSpec(
    name="lan",
    digest=D,
    kind="isolated",
    subnets=(
        Subnet(prefix="10.0.0.0/24", own="10.0.0.1", gateway="10.0.0.2"),
        Subnet(prefix="fd00::/64", own="fd00::1", advertise="stateless"),
        Subnet(prefix="10.1.0.0/24"),
    ),
    leases=(Lease(mac=MAC, addresses=("10.0.0.5", "10.1.0.5", "fd00::5"), hostname="files"),),
    forwarders=("192.0.2.53",),
)


def test_dnsmasq() -> None:
    text = dnsmasq.configuration(NETWORK, Path("/x"), "dnsmasq", None)
    assert text.splitlines()[-7:] == [
        "dhcp-range=set:s0,10.0.0.0,static,255.255.255.0,3600",
        "dhcp-option=tag:s0,option:router,10.0.0.2",
        "dhcp-option=tag:s0,option:dns-server,10.0.0.1",
        "dhcp-range=set:s1,fd00::,ra-stateless,64",
        "dhcp-option=tag:s1,option6:dns-server,[fd00::1]",
        "enable-ra",
        "ra-param=gw0,mtu:1500,60,0",
    ]
    assert "server=192.0.2.53" in text
    assert dnsmasq.leases(NETWORK) == f"{MAC},10.0.0.5,[fd00::5],files\n{MAC},10.1.0.5,files\n"
    assert dnsmasq.host_names(NETWORK) == (
        "10.0.0.5 files.skep.internal files\n10.1.0.5 files.skep.internal files\nfd00::5 files.skep.internal files\n"
    )


def test_translation() -> None:
    spec = RouterSpec(
        name="r",
        digest=D,
        legs=(
            RouterLeg(network="out", addresses=("198.51.100.1/24", "2001:db8::1/64"), mac=MAC, snat=True),
            RouterLeg(network="in", addresses=("10.0.0.1/24",), mac=MAC),
        ),
        floating=(FloatingAddress(outside="198.51.100.5", inside="10.0.0.5"),),
        forwards=(PortForward(protocol="tcp", outside="198.51.100.1", outside_port=80, inside="10.0.0.6",
                              inside_port=8080),),
    )  # fmt: skip
    outer, inner = names.leg("out"), names.leg("in")
    assert [line.strip() for line in translation.body(spec).splitlines()] == [
        "chain prerouting { type nat hook prerouting priority dstnat; policy accept;",
        f'iifname {{ "{inner}" }} ip daddr {{ 198.51.100.1, 198.51.100.5 }} meta mark set 0x1',
        "ip daddr 198.51.100.1 tcp dport 80 dnat to 10.0.0.6:8080",
        "dnat to ip daddr map { 198.51.100.5 : 10.0.0.5 }",
        "}",
        "chain postrouting { type nat hook postrouting priority srcnat; policy accept;",
        "meta mark 0x1 snat to ip saddr map { 10.0.0.5 : 198.51.100.5 }",
        "meta mark 0x1 snat to 198.51.100.1",
        f'oifname "{outer}" snat to ip saddr map {{ 10.0.0.5 : 198.51.100.5 }}',
        f'oifname "{outer}" snat to 198.51.100.1',
        "}",
    ]
    assert translation.outside_addresses(spec) == {"198.51.100.5"}


def test_names_are_short_and_never_meet() -> None:
    policy = Policy(interface_prefix="averylongprefix")
    made = {
        names.tap(policy, "a" * 63 + ".n0"),
        names.leg("b" * 63),
        names.host_link(policy, "net", "n"),
        names.host_link(policy, "net", "h"),
        names.leg_port(policy, "net", "a"),
        names.leg_port(policy, "ne", "ta"),
    }
    assert len(made) == 6
    assert all(len(name) <= 15 for name in made)
    assert names.network_namespace("r-x") != names.router_namespace("x")


def test_the_link_of_a_nat_network() -> None:
    spec = NetworkSpec(name="wan", digest=D, kind="nat", nat_prefix="100.64.0.4/30")
    assert host_addresses.nat_link(spec) == ("100.64.0.5/30", "100.64.0.6/30")
    assert nat.gateway(spec) == "100.64.0.5"
