"""The ways out of a network, each tried with frames; and what networks leave alone on the host."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import network_frames as f
import pytest
from network_lab import DIGEST, Guest, Lab, Wire, own_stack
from skep_helper.handlers import Failure
from skep_helper.linux.network import FEATURES, names
from skep_helper.vocabulary import ApplyNetwork, NetworkSpec, Rejected, RemoveNetwork, RemovePort
from skep_helper.vocabulary.network import Remote, Subnet

pytestmark = pytest.mark.real

FAR_MAC = "02:00:00:00:02:02"
FOREIGN_MAC = "02:00:00:00:00:77"
SUBNET = Subnet(prefix="10.0.0.0/24", own="10.0.0.1", gateway="10.0.0.1")
LINK = "100.64.7.0/30"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A host with an uplink up0, whose far end is far0."""
    with own_stack():
        ip("link", "add", "up0", "type", "veth", "peer", "name", "far0")
        ip("link", "set", "up0", "up")
        ip("link", "set", "far0", "up")
        lab = Lab(uplinks=("up0", "upbr0"), forwarding=True)
        try:
            yield lab
        finally:
            lab.close()


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def address_of(interface: str) -> str:
    return ip("-br", "link", "show", interface).split()[2]


def datagram(source: str, destination: str, data: bytes, sport: int = 1000, dport: int = 2000) -> bytes:
    return f.ipv4(source, destination, f.UDP, f.udp(source, destination, sport, dport, data))


def both_ways(guest: Guest, wire: Wire) -> None:
    """A frame out with the guest's own MAC, and one back to it."""
    out = f.ether(guest.mac, FAR_MAC, f.IPV4, datagram(guest.address, "10.0.0.99", b"going out"))
    guest.send(out)
    frame = wire.until(b"going out")
    assert (frame, wire.seen.count(b"forged")) == (out, 0)
    back = f.ether(FAR_MAC, guest.mac, f.IPV4, datagram("10.0.0.99", guest.address, b"coming back"))
    wire.send(back)
    assert guest.until(b"coming back")[-1] == back


def test_flat_on_an_interface(lab: Lab) -> None:
    network = lab.network("flat", kind="flat", uplink="up0")
    guest = lab.port(network, 5)
    with closing(Wire("far0")) as wire:
        both_ways(guest, wire)
    with pytest.raises(Failure, match="in use by another network"):
        lab.network("flat2", kind="flat", uplink="up0")


def test_flat_on_a_bridge_of_the_administrator(lab: Lab) -> None:
    ip("link", "add", "upbr0", "type", "bridge")
    ip("link", "set", "upbr0", "up")
    ip("link", "set", "up0", "master", "upbr0")
    networks = [lab.network(short, kind="flat", uplink="upbr0") for short in ("one", "two")]
    guests = [lab.port(network, number) for network, number in zip(networks, (5, 6), strict=True)]
    with closing(Wire("far0")) as wire:
        for guest in guests:
            guest.send(f.ether(guest.mac, f.BROADCAST, f.ARP, f.arp(1, guest.mac, guest.address, FAR_MAC, "10.0.0.99")))
            wire.until(f.packed("10.0.0.99"))
            both_ways(guest, wire)


def test_flat_takes_no_interface_that_the_host_uses(lab: Lab) -> None:
    ip("address", "add", "192.0.2.1/24", "dev", "up0")
    with pytest.raises(Failure, match=r"up0 has the host's address 192\.0\.2\.1/24"):
        lab.network("flat", kind="flat", uplink="up0")
    with pytest.raises(Rejected, match="far0 is not an uplink that the policy allows"):
        lab.network("flat", kind="flat", uplink="far0")
    with pytest.raises(Failure, match="no interface upbr0"):
        lab.network("flat", kind="flat", uplink="upbr0")


def vxlan(vni: int, frame: bytes) -> bytes:
    return struct.pack(">BxxxI", 8, vni << 8) + frame


def test_vxlan_with_a_peer_that_changes(lab: Lab) -> None:
    ip("address", "add", "192.0.2.1/24", "dev", "up0")
    for peer in ("192.0.2.2", "192.0.2.3"):
        ip("neighbour", "add", peer, "lladdr", FAR_MAC, "dev", "up0")
    network = lab.network("vxlan", kind="vxlan", vni=77, local="192.0.2.1", remotes=(Remote(address="192.0.2.2"),))
    guest = lab.port(network, 5)
    question = f.ether(guest.mac, f.BROADCAST, f.ARP, f.arp(1, guest.mac, guest.address, FAR_MAC, "10.0.0.99"))
    with closing(Wire("far0")) as wire:
        guest.send(question)
        outer = wire.until(question)
        assert f.packet(outer)[:2] == ("192.0.2.1", "192.0.2.2")
        assert outer[42:] == vxlan(77, question)
        back = f.ether(FAR_MAC, guest.mac, f.IPV4, datagram("10.0.0.99", guest.address, b"coming back"))
        packet = f.ipv4("192.0.2.2", "192.0.2.1", f.UDP, f.udp("192.0.2.2", "192.0.2.1", 5000, 4789, vxlan(77, back)))
        wire.send(f.ether(FAR_MAC, address_of("up0"), f.IPV4, packet))
        assert guest.until(b"coming back")[-1] == back
        lab.do(ApplyNetwork(network=replace(network, remotes=(Remote(address="192.0.2.3"),), digest="f" * 16)))
        guest.send(question)
        assert f.packet(wire.until(question))[1] == "192.0.2.3"


def test_vlan(lab: Lab) -> None:
    """Where the kernel has VLANs, frames leave tagged; where not, it is refused, and the reason is a feature's."""
    vlan = next(feature for feature in FEATURES(lab.policy) if feature.name == "vlan")
    if not vlan.works:
        with pytest.raises(Failure, match="this kernel cannot make a vlan interface") as refused:
            lab.network("vlan", kind="vlan", uplink="up0", vlan=12)
        assert refused.value.code == "unsupported"
        assert "8021q" in vlan.reason
        return
    guest = lab.port(lab.network("vlan", kind="vlan", uplink="up0", vlan=12), 5)
    other = lab.port(lab.network("vlan13", kind="vlan", uplink="up0", vlan=13), 6)
    with closing(Wire("far0")) as wire:
        out = f.ether(guest.mac, FAR_MAC, f.IPV4, datagram(guest.address, "10.0.0.99", b"going out"))
        guest.send(out)
        assert wire.until(b"going out") == f.tagged(out, 12)
        back = f.ether(FAR_MAC, guest.mac, f.IPV4, datagram("10.0.0.99", guest.address, b"coming back"))
        wire.send(f.tagged(f.ether(FAR_MAC, other.mac, f.IPV4, datagram("10.0.0.99", other.address, b"strange")), 12))
        wire.send(f.tagged(back, 12))
        assert guest.until(b"coming back")[-1] == back
        wire.send(f.tagged(f.ether(FAR_MAC, other.mac, f.IPV4, datagram("10.0.0.99", other.address, b"13")), 13))
        assert b"strange" not in b"".join(other.until(b"13"))


def nat(lab: Lab, short: str = "nat", prefix: str = LINK) -> NetworkSpec:
    return lab.network(short, kind="nat", nat_prefix=prefix, subnets=(SUBNET,))


def gateway_mac(lab: Lab, network: NetworkSpec) -> str:
    path = f"/sys/class/net/{names.OWN}/address"
    return lab.inside(names.network_namespace(network.name), "cat", path).strip()


def test_nat_lets_out_and_answers_in(lab: Lab) -> None:
    ip("address", "add", "203.0.113.1/24", "dev", "up0")
    ip("neighbour", "add", "203.0.113.9", "lladdr", FAR_MAC, "dev", "up0")
    networks = [nat(lab, "one"), nat(lab, "two", "100.64.7.4/30")]  # with the same addresses inside
    with closing(Wire("far0")) as wire:
        for network, port in zip(networks, (1001, 1002), strict=True):
            guest = lab.port(network, 5)
            packet = datagram("10.0.0.5", "203.0.113.9", b"out by nat", port, 53)
            guest.send(f.ether(guest.mac, gateway_mac(lab, network), f.IPV4, packet))
            source, _, payload = f.packet(wire.until(b"out by nat"))
            assert source == "203.0.113.1"
            back = datagram("203.0.113.9", "203.0.113.1", b"back by nat", 53, int.from_bytes(payload[:2], "big"))
            wire.send(f.ether(FAR_MAC, address_of("up0"), f.IPV4, back))
            assert f.packet(guest.until(b"back by nat", answer=True)[-1])[:2] == ("203.0.113.9", "10.0.0.5")


def test_nat_needs_forwarding_and_puts_it_back(lab: Lab) -> None:
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    only_up0 = Path("/proc/sys/net/ipv4/conf/up0/forwarding")
    forward.write_text("0")
    only_up0.write_text("1")
    before = settings()
    lab.policy = replace(lab.policy, forwarding=False)
    with pytest.raises(Rejected, match="set forwarding = true in the policy file"):
        nat(lab)
    lab.do(RemoveNetwork(network=lab.name("nat")))
    assert settings() == before
    lab.policy = replace(lab.policy, forwarding=True)
    nat(lab, "one")
    nat(lab, "two", "100.64.7.4/30")
    assert forward.read_text() == "1\n"
    lab.do(RemoveNetwork(network=lab.name("one")))
    assert forward.read_text() == "1\n"
    lab.do(RemoveNetwork(network=lab.name("two")))
    assert settings() == before
    forward.write_text("1")
    lab.policy = replace(lab.policy, forwarding=False)
    nat(lab, "three")
    lab.do(RemoveNetwork(network=lab.name("three")))
    assert forward.read_text() == "1\n"


def test_the_host_has_its_address_on_a_network(lab: Lab) -> None:
    network = lab.network("host", host_address="10.0.0.2/24")
    guest = lab.port(network, 5)
    ours = names.host_link(lab.policy, network.name, "h")
    assert "10.0.0.2/24" in ip("address", "show", ours)
    guest.send(f.ether(guest.mac, address_of(ours), f.IPV4, f.ipv4(guest.address, "10.0.0.2", f.ICMP,
               f.icmp4(8, b"\0\7\0\1ping-the-host"))))  # fmt: skip
    reply = guest.until(b"ping-the-host", answer=True)[-1]
    assert f.packet(reply)[:2] == ("10.0.0.2", guest.address)
    lab.do(ApplyNetwork(network=replace(network, host_address=None, digest="f" * 16)))
    assert ours not in ip("link")
    assert lab.read().networks[0].missing == ""


def test_the_host_takes_nothing_from_a_network(lab: Lab) -> None:
    """No routes that are advertised there, and no address but the one that was asked for."""
    Path("/proc/sys/net/ipv6/conf/default/addr_gen_mode").write_text("0")
    for short, address, mode in (("four", "10.0.0.2/24", "1"), ("six", "fd07::2/64", "0")):
        network = lab.network(short, host_address=address)
        ours = Path("/proc/sys/net/ipv6/conf", names.host_link(lab.policy, network.name, "h"))
        values = {name: (ours / name).read_text().strip() for name in ("accept_ra", "autoconf", "addr_gen_mode")}
        assert values == {"accept_ra": "0", "autoconf": "0", "addr_gen_mode": mode}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"host_address": "192.0.2.2/24"}, "host_prefixes"),
        ({"host_address": "8.8.8.7/1"}, "host_prefixes"),
        ({"host_address": "127.0.0.2/8"}, "host_prefixes"),
        ({"host_address": "10.1.2.200/16"}, "overlaps 10.1.2.0/24 of the host's foreign0"),
        ({"kind": "nat", "nat_prefix": "8.8.8.0/24"}, "host_prefixes"),
        ({"kind": "nat", "nat_prefix": "10.1.2.4/30"}, "overlaps 10.1.2.0/24"),
    ],
)
def test_the_hosts_own_traffic_is_not_taken(lab: Lab, fields: dict[str, str], reason: str) -> None:
    ip("link", "add", "foreign0", "type", "bridge")
    ip("address", "add", "10.1.2.3/24", "dev", "foreign0")
    before = ip("route", "show", "table", "all")
    with pytest.raises(Rejected, match=reason):
        lab.network("taker", **fields)
    assert (ip("route", "show", "table", "all"), lab.read().networks) == (before, ())


def settings() -> str:
    """The host's network settings; statistics and what changes by itself left out."""
    done = subprocess.run(["sysctl", "-a", "-r", r"^net\."], capture_output=True, text=True, check=True)
    moving = ("nf_conntrack_count", "random", "netdev_rss_key", "fib_sync_mem", "tcp_fastopen_key")
    return "\n".join(line for line in done.stdout.splitlines() if not any(word in line for word in moving))


def host_state() -> dict[str, str]:
    """Digests of everything on the host that Skep has no business with."""
    commands = {
        "link": ["ip", "-d", "link"],
        "address": ["ip", "address"],
        "route": ["ip", "route", "show", "table", "all"],
        "nft": ["nft", "list", "ruleset"],
        "namespaces": ["ip", "netns", "list"],
    }
    state = {
        name: subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for name, command in commands.items()
    }
    state["namespaces"] = "\n".join(line for line in state["namespaces"].splitlines() if "foreign" in line)
    return state | {"settings": settings(), "mounts": mounts()}


def mounts() -> str:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return "\n".join(line for line in lines if f"/run/netns/skep-{PREFIX}" in line or "foreign" in line)


PREFIX = f"t{os.getpid()}-"


def test_foreign_objects_are_untouched(lab: Lab) -> None:
    foreign = f"foreign-{lab.unique}"
    ip("netns", "add", foreign)
    try:
        ip("link", "add", "foreign0", "type", "bridge")
        ip("address", "add", "192.0.2.129/25", "dev", "foreign0")
        tables = b"table inet foreign { chain c { type filter hook input priority 0; }; }\ntable ip skepper { }\n"
        subprocess.run(["nft", "-f", "-"], input=tables, check=True)
        before = host_state()
        nat(lab, "one")
        network = lab.network("two", kind="flat", uplink="up0", host_address="10.9.0.1/24")
        guest = lab.port(network, 5, filtered=True)
        guest.close()
        between = host_state()
        assert between["link"] != before["link"]
        assert between["nft"] != before["nft"]
        lab.do(RemovePort(port=guest.spec.name, network=network.name))
        lab.do(RemoveNetwork(network=network.name))
        lab.do(RemoveNetwork(network=lab.name("one")))
        after = host_state()
        assert {name: text for name, text in after.items() if text != before[name]} == {}
    finally:
        ip("netns", "delete", foreign)


def test_a_foreign_namespace_of_our_name_is_refused(lab: Lab) -> None:
    name = names.network_namespace(lab.name("mine"))
    ip("netns", "add", name)
    try:
        with pytest.raises(Failure, match="was not made by Skep"):
            lab.network("mine")
        assert lab.read().networks == ()
    finally:
        ip("netns", "delete", name)


def test_tagged_vlans_into_a_guest(lab: Lab) -> None:
    """A trunk port gets and sends its VLANs and no other; where bridges know no VLANs it is refused."""
    trunks = next(feature for feature in FEATURES(lab.policy) if feature.name == "bridge-vlan-filtering")
    network = lab.network("trunk", kind="flat", uplink="up0")
    if not trunks.works:
        with pytest.raises(Failure, match="bridge-vlan-filtering") as refused:
            lab.port(network, 5, vlans=(12, 13))
        assert refused.value.code == "unsupported"
        assert lab.read().ports == ()
        return
    guest = lab.port(network, 5, vlans=(12, 13))
    plain = lab.port(network, 6)
    with closing(Wire("far0")) as wire:
        for vlan in (12, 13):
            out = f.ether(guest.mac, FAR_MAC, f.IPV4, datagram("192.0.2.5", "192.0.2.99", b"out %d" % vlan))
            guest.send(f.tagged(out, 14), f.tagged(out.replace(b"out", b"bad"), 14), f.tagged(out, vlan))
            assert wire.until(b"out %d" % vlan) == f.tagged(out, vlan)
            back = f.ether(FAR_MAC, guest.mac, f.IPV4, datagram("192.0.2.99", "192.0.2.5", b"back %d" % vlan))
            wire.send(f.tagged(back.replace(b"back", b"evil"), 14))
            wire.send(f.tagged(back, vlan))
            captured = guest.until(b"back %d" % vlan)
            assert captured[-1] == f.tagged(back, vlan)
            assert b"evil" not in b"".join(captured)
        both_ways(guest, wire)
        plain.drain()
        both_ways(plain, wire)
        foreign = f.ether(FOREIGN_MAC, FAR_MAC, f.IPV4, datagram("192.0.2.5", "192.0.2.99", b"forged"))
        guest.send(f.tagged(foreign, 12))
        both_ways(guest, wire)


def test_a_way_out_is_changed_in_place_and_nothing_of_the_old_stays(lab: Lab) -> None:
    network = lab.network("change", kind="flat", uplink="up0", host_address="10.0.0.2/24")
    guest = lab.port(network, 5)
    namespace = names.network_namespace(network.name)
    vxlan_spec = replace(
        network, kind="vxlan", uplink=None, host_address=None, vni=77, local="127.0.0.1", mtu=1400, digest="f" * 16
    )
    before = ip("-d", "link", "show", "up0")
    assert "promiscuity 1" in before
    for spec in (vxlan_spec, replace(vxlan_spec, vni=78)):
        lab.do(ApplyNetwork(network=spec))
        assert f"vxlan id {spec.vni} " in lab.inside(namespace, "ip", "-d", "link", "show", names.UPLINK)
    assert "promiscuity 0" in ip("-d", "link", "show", "up0")
    assert names.host_link(lab.policy, network.name, "h") not in ip("link")
    tap = names.tap(lab.policy, guest.spec.name)
    assert "mtu 1400" in lab.inside(namespace, "ip", "link", "show", tap)
    lab.do(ApplyNetwork(network=replace(network, kind="isolated", uplink=None, host_address=None)))
    assert names.UPLINK not in lab.inside(namespace, "ip", "link")
    lab.do(ApplyNetwork(network=network))
    with closing(Wire("far0")) as wire:
        lab.wait_forwarding(guest.spec)
        both_ways(guest, wire)


def test_a_way_out_that_could_not_be_made_leaves_nothing_behind(lab: Lab) -> None:
    """Applied again as another kind, and removed at once: the uplink is free at once."""
    ip("address", "add", "192.0.2.1/24", "dev", "up0")
    with pytest.raises(Failure, match="has the host's address"):
        lab.network("half", kind="flat", uplink="up0", host_address="10.0.0.2/24")
    assert [network.digest for network in lab.read().networks] == [""]
    isolated = lab.network("half")
    assert lab.read().networks[0].digest == DIGEST
    assert names.host_link(lab.policy, isolated.name, "h") not in ip("link")
    ip("address", "flush", "dev", "up0")
    for _ in range(5):
        lab.do(RemoveNetwork(network=isolated.name))
        lab.network("half", kind="flat", uplink="up0")
