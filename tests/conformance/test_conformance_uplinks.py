"""Networks that lead out of the host, with real frames on the cable."""

from __future__ import annotations

import network_frames as f
from conformance_cables import cable, make_switch, run, switch
from conformance_lab import CABLE, SWITCH, only_on
from conformance_taps import Taps, taps
from network_guest import Guest
from planning import observe
from skep_helper import vocabulary as v
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


@only_on("freebsd")
def test_a_vlan(host: Host) -> None:
    with cable(CABLE) as far, taps(host) as lab:
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
    own = f"{CABLE[:-2]}v0"
    with cable(CABLE) as far, taps(host) as lab:
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


def members(bridge: str) -> list[str]:
    lines = (line.split() for line in run("ifconfig", bridge).splitlines())
    return [words[1] for words in lines if words and words[0] == "member:"]


def remove(lab: Taps, network: v.NetworkSpec, guest: Guest) -> None:
    """While what the administrator has still stands."""
    lab.do(v.RemovePort(port=guest.spec.name, network=network.name))
    lab.do(v.RemoveNetwork(network=network.name))
