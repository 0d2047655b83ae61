"""Networks that lead out of the host, with real frames on the cable."""

from __future__ import annotations

import network_frames as f
from conformance_cables import cable, make_switch, run, switch
from conformance_lab import CABLE, SWITCH, Lacking, need, only_on
from conformance_taps import Taps, taps
from network_guest import Guest
from planning import observe
from skep_helper import vocabulary as v
from skep_helper.vocabulary.network import Neighbour, Remote
from skepd.host import Host


def crosses(one: Guest, other: Guest, vlan: int | None = None) -> None:
    """A datagram each way arrives; vlan: as which tag it is on the cable of `other`."""
    out, back = one.udp(other, b"outward"), other.udp(one, b"inward")
    other.drain()
    one.send(out)
    assert other.until(b"outward")[-1] == (out if vlan is None else f.tagged(out, vlan))
    one.drain()
    other.send(back if vlan is None else f.tagged(back, vlan))
    assert one.until(b"inward")[-1] == back


def stays_out(sender: Guest, receiver: Guest, bad: bytes, good: bytes, mark: bytes) -> None:
    """Of two frames, one after the other, only the good one (with this mark) arrives."""
    receiver.drain()
    sender.send(bad, good)
    captured = receiver.until(mark)
    assert not any(b"stranger" in frame for frame in captured)


TAGGED = 1504
"""MTU of a tap on which a VLAN has 1500: unlike most cards it sends no longer frames for a tag."""


@only_on("freebsd")
def test_a_vlan(host: Host) -> None:
    need(host, "vlan")
    with cable(CABLE, mtu=TAGGED) as far, taps(host) as lab:
        network = lab.network("vlan", kind="vlan", uplink=CABLE, vlan=100)
        guest = lab.port(network, 5)
        crosses(guest, far, 100)
        good = f.tagged(far.udp(guest, b"ours"), 100)
        stays_out(far, guest, f.tagged(far.udp(guest, b"stranger"), 101), good, b"ours")
        stays_out(far, guest, far.udp(guest, b"stranger"), good, b"ours")
        guest.close()
        remove(lab, network, guest)


@only_on("freebsd")
def test_a_vlan_that_the_host_uses_itself(host: Host) -> None:
    """There is one vlan(4) for each tag: it stays the host's, with its address, and the network joins by a bridge."""
    need(host, "vlan")
    if run("sysctl", "-in", "net.link.bridge.member_ifaddrs", fails=True).strip() == "0":
        raise Lacking("an interface with addresses joins no bridge on this release (net.link.bridge.member_ifaddrs)")
    own = f"{CABLE[:-2]}v0"
    with cable(CABLE, mtu=TAGGED) as far, taps(host) as lab:
        run("ifconfig", "vlan", "create", "vlan", "100", "vlandev", CABLE, "name", own)
        run("ifconfig", own, "inet", "192.0.2.9/24", "up")
        try:
            network = lab.network("vlan", kind="vlan", uplink=CABLE, vlan=100)
            guest = lab.port(network, 5)
            crosses(guest, far, 100)
            guest.close()
            remove(lab, network, guest)
            assert "inet 192.0.2.9 " in run("ifconfig", own)
        finally:
            run("ifconfig", own, "destroy")


@only_on("freebsd")
def test_a_flat_network_on_the_administrators_bridge(host: Host) -> None:
    with cable(CABLE) as far, switch(SWITCH, CABLE), taps(host) as lab:
        network = lab.network("flat", kind="flat", uplink=SWITCH)
        guest = lab.port(network, 5)
        crosses(guest, far)
        tagged = f.tagged(guest.udp(far, b"stranger"), 7)
        stays_out(guest, far, tagged, guest.udp(far, b"ours"), b"ours")
        guest.close()
        remove(lab, network, guest)
        assert members(SWITCH) == [CABLE]


@only_on("freebsd")
def test_a_bridge_made_anew_is_joined_again(host: Host) -> None:
    """As `service netif restart` does with a cloned bridge of rc.conf."""
    with cable(CABLE) as far, taps(host) as lab:
        make_switch(SWITCH, CABLE)
        try:
            network = lab.network("flat", kind="flat", uplink=SWITCH)
            guest = lab.port(network, 5)
            run("ifconfig", SWITCH, "destroy")
            make_switch(SWITCH, CABLE)
            reading = observe(host).network_of[network.name]
            assert (reading.digest, SWITCH in reading.missing) == ("", True), reading
            lab.do(v.ApplyNetwork(network=network))
            assert observe(host).network_of[network.name].digest == network.digest
            crosses(guest, far)
            guest.close()
            remove(lab, network, guest)
        finally:
            run("ifconfig", SWITCH, "destroy")


@only_on("freebsd")
def test_interfaces_of_the_host_that_went_down_come_up_again(host: Host) -> None:
    """What `service netif stop` does to every interface of the host, ours among them."""
    with cable(CABLE) as far, switch(SWITCH, CABLE), taps(host) as lab:
        network = lab.network("flat", kind="flat", uplink=SWITCH)
        guest = lab.port(network, 5)
        ours = next(name for name in members(SWITCH) if name != CABLE)
        run("ifconfig", ours, "down")
        assert ours in observe(host).network_of[network.name].missing
        lab.do(v.ApplyNetwork(network=network))
        crosses(guest, far)
        guest.close()
        remove(lab, network, guest)


FAR, FAR4, FAR6 = "02:00:00:00:00:33", "10.0.0.33", "fd00::33"
"""A port on another host, the second peer."""


def vxlan(lab: Taps) -> v.NetworkSpec:
    """On 192.0.2.1 of the cable; 192.0.2.2 gets what is flooded, FAR is behind 192.0.2.3."""
    run("ifconfig", CABLE, "inet", "192.0.2.1/24")
    for peer in ("192.0.2.2", "192.0.2.3"):
        run("arp", "-s", peer, "02:00:00:00:00:99")
    known = Neighbour(mac=FAR, addresses=(FAR4, FAR6))
    remotes = (Remote(address="192.0.2.2"), Remote(address="192.0.2.3", macs=(FAR,), neighbours=(known,)))
    return lab.network("vxlan", kind="vxlan", vni=77, local="192.0.2.1", remotes=remotes, mtu=1450)


@only_on("freebsd")
def test_a_vxlan_sends_each_known_port_to_its_peer(host: Host) -> None:
    need(host, "vxlan")
    with cable(CABLE) as far, taps(host) as lab:
        network = vxlan(lab)
        guest = lab.port(network, 5)
        strange = f.ether(guest.mac, f.BROADCAST, f.ARP, f.arp(1, guest.mac, guest.address, f.BROADCAST, "10.0.0.44"))
        guest.send(strange)
        flooded = far.until(strange[:42])[-1]
        assert f.packet(flooded)[:2] == ("192.0.2.1", "192.0.2.2")
        ends = (guest.address, FAR4)
        datagram = f.ipv4(*ends, f.UDP, f.udp(*ends, 1000, 2000, b"outward"))
        guest.send(f.ether(guest.mac, FAR, f.IPV4, datagram))
        source, destination, payload = f.packet(far.until(b"outward")[-1])
        assert (source, destination) == ("192.0.2.1", "192.0.2.3")
        back = f.ether(FAR, guest.mac, f.IPV4, f.ipv4(FAR4, guest.address, f.UDP, f.udp(*ends[::-1], 1, 2, b"inward")))
        header = payload[8:16]
        outer = f.ipv4("192.0.2.3", "192.0.2.1", f.UDP, f.udp("192.0.2.3", "192.0.2.1", 4789, 4789, header + back))
        mac = next(line.split()[1] for line in run("ifconfig", CABLE).splitlines() if "ether " in line)
        far.send(f.ether(far.mac, mac, f.IPV4, outer))
        assert guest.until(b"inward")[-1] == back
        guest.close()
        remove(lab, network, guest)


@only_on("freebsd")
def test_ports_behind_other_peers_are_answered_for(host: Host) -> None:
    """Broadcasts reach one peer; who asks for a port behind another is told its MAC by the network itself."""
    need(host, "vxlan")
    with cable(CABLE), taps(host) as lab:
        network = vxlan(lab)
        guest = lab.port(network, 5)
        question = f.arp(1, guest.mac, guest.address, f.BROADCAST, FAR4)
        reply = f.arp(2, FAR, FAR4, guest.mac, guest.address)
        assert guest.ask(f.ether(guest.mac, f.BROADCAST, f.ARP, question), reply)[0:6] == f.mac(guest.mac)
        group, body = "ff02::1:ff00:33", bytes(4) + f.packed(FAR6) + b"\1\1" + f.mac(guest.mac)
        asked = f.ipv6(guest.address6, group, f.ICMP6, f.icmp6(guest.address6, group, 135, body))
        told = f.packed(FAR6) + b"\2\1" + f.mac(FAR)
        frame = guest.ask(f.ether(guest.mac, "33:33:ff:00:00:33", f.IPV6, asked), told)
        assert (f.packet(frame)[:2], frame[54]) == ((FAR6, guest.address6), 136)
        guest.close()
        remove(lab, network, guest)


def members(bridge: str) -> list[str]:
    lines = (line.split() for line in run("ifconfig", bridge).splitlines())
    return [words[1] for words in lines if words and words[0] == "member:"]


def remove(lab: Taps, network: v.NetworkSpec, guest: Guest) -> None:
    """While what the administrator has still stands."""
    lab.do(v.RemovePort(port=guest.spec.name, network=network.name))
    lab.do(v.RemoveNetwork(network=network.name))
