"""What tools show and what the kernel is given, held against what was recorded on a real system."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from skep_helper.freebsd.network import dnsmasq, guard, ifconfig, netgraph, system, vxlan
from skep_helper.freebsd.network.bpf import Instruction
from skep_helper.vocabulary import NetworkSpec, PortSpec
from skep_helper.vocabulary.network import Lease

TRANSCRIPTS = Path(__file__).parent / "transcripts"
D = "0123456789abcdef"
PORT = PortSpec(name="g.n0", network="n", digest=D, rules_digest=D, mac="02:00:00:00:00:05", addresses=("10.0.0.5",))


def recorded(transcript: str, command: str, nth: int = 0) -> str:
    """What the nth command that begins so wrote to stdout."""
    parts = re.split(r"^\$ ", (TRANSCRIPTS / transcript).read_text(), flags=re.M)
    found = [part.split("\n", 1)[1] for part in parts if part.split("\n", 1)[0].startswith(command)]
    return found[nth].removeprefix("--- stdout\n").split("\n--- ")[0].split("\n[exit")[0] + "\n"


def test_every_interface_of_a_host() -> None:
    found = ifconfig.parse(recorded("04-ifconfig.txt", "ifconfig -a"))
    assert list(found) == ["vtnet0", "lo0"]
    assert found["vtnet0"].up
    assert found["vtnet0"].addresses == ["10.0.2.15/24"]
    assert found["lo0"].addresses == ["::1/128", "127.0.0.1/8"]
    assert found["lo0"].mtu == 16384


def test_a_bridge_with_members_and_addresses() -> None:
    text = (TRANSCRIPTS / "04-ifconfig.txt").read_text()
    shown = "brlan: flags=8843" + text.split("\nbrlan: flags=8843", 1)[1].split("\n--- ", 1)[0]
    bridge = ifconfig.parse(shown)["brlan"]
    assert (bridge.members, bridge.groups) == (["tap0", "vt5"], ("bridge",))
    assert bridge.addresses == ["192.168.77.1/24", "fd00:77::1/64"]
    assert bridge.description == "with 'quotes' and \"double\" $x"


def test_a_tap_closed_and_open() -> None:
    closed = ifconfig.parse(recorded("20-vnet-tap.txt", "ifconfig tap10; ls"))["tap10"]
    assert (closed.ether, closed.description, closed.groups) == ("58:9c:fc:aa:00:10", "vm a nic 0", ("tap", "vmnet"))
    assert (closed.mtu, closed.up, closed.opened_by) == (1450, False, 0)
    opened = ifconfig.parse(recorded("20-vnet-tap.txt", "jexec na ifconfig tap10", 1))["tap10"]
    assert opened.opened_by == 573
    assert "RUNNING" in opened.flags


def test_a_vlan_knows_its_parent_on_the_host_only() -> None:
    shown = recorded("24-vlan-epair.txt", "ifconfig vlan100 create vlan 100 vlandev epair7a up")
    host, _, jail = shown.partition("ifconfig: interface vlan100 does not exist\n")
    assert ifconfig.parse(host)["vlan100"].vlan == (100, "epair7a")
    assert ifconfig.parse(jail)["vlan100"].vlan is None


def test_argv() -> None:
    assert ifconfig.create("tap", "skp0", "mtu", "1450") == [
        "/sbin/ifconfig",
        "tap",
        "create",
        "mtu",
        "1450",
        "name",
        "skp0",
    ]
    assert ifconfig.move("skp0", 4) == ["/sbin/ifconfig", "skp0", "vnet", "4"]
    assert ifconfig.take_back("skp0", 4) == ["/sbin/ifconfig", "skp0", "-vnet", "4"]
    assert ifconfig.add_member("bridge0", "skp0", "-learn", "skp0")[1:] == ["bridge0", "addm", "skp0", "-learn", "skp0"]
    assert ifconfig.remove_members("b0", ["x", "y"])[1:] == ["b0", "deletem", "x", "deletem", "y"]
    assert ifconfig.add_address("gw0", "10.0.0.1/24")[1:] == ["gw0", "inet", "10.0.0.1/24", "alias"]
    assert ifconfig.add_address("gw0", "fd00::1/64")[1:] == ["gw0", "inet6", "fd00::1", "prefixlen", "64", "alias"]
    assert ifconfig.remove_address("gw0", "fd00::1/64")[1:] == ["gw0", "inet6", "fd00::1", "-alias"]
    assert ifconfig.add_route("0.0.0.0/0", "10.0.0.1")[1:] == ["-n", "add", "-inet", "default", "10.0.0.1"]
    assert ifconfig.add_route("10.1.0.0/16", "10.0.0.1")[3:] == ["-inet", "-net", "10.1.0.0/16", "10.0.0.1"]
    assert ifconfig.remove_route("::/0", "fd00::1")[2:] == ["delete", "-inet6", "default", "fd00::1"]


def test_the_chain_of_a_guard_as_it_was_made_by_hand() -> None:
    script = recorded("22-ng-guard.txt", "cat /tmp/g2.sh")
    by_hand = script.split("<<Y\n")[1].split("Y\n")[0].replace("tap10-v", "tap10v").replace("tap10-g", "tap10g")
    assert netgraph.make("tap10") == (["/usr/sbin/ngctl", "-f", "-"], by_hand.encode())


def test_messages_as_they_were_sent_by_hand() -> None:
    """Transcript 22 has the two setprogram messages of a guard that ran."""
    text = (TRANSCRIPTS / "22-ng-guard.txt").read_text().replace("tap10-g:", "tap10g:")
    lines = [line for line in text.splitlines() if line.startswith("ngctl msg tap10g: setprogram")]
    arguments = [line.split("setprogram ")[1].strip("'") for line in lines]
    program = [
        Instruction(*(int(dict(w.split("=") for w in words.split()).get(name, "0")) for name in Instruction._fields))
        for words in re.findall(r"\{ (code=.*?) \}", arguments[0])
    ]
    assert netgraph.set_program("tap10", program)[1:] == ["msg", "tap10g:", "setprogram", arguments[0]]
    assert netgraph.let_through("tap10")[4] == arguments[1]


def test_a_program_fits_into_one_message() -> None:
    """net.graph.maxdgram is 20480 bytes; the largest program has 512 instructions of at most 40 characters."""
    assert len(netgraph.set_program("t", guard.program(PORT))[4]) < 20_000
    assert len("{ code=21 jt=255 jf=255 k=4294967295 } ") * 512 < 20_480


def test_names_of_nodes_from_netgraph() -> None:
    """The bytes of struct ng_mesg and struct nodeinfo (ng_message.h), as the kernel would answer after 22."""
    nodes = [("tap10", "ether", 2), ("tap10v", "vlan", 2), ("tap10g", "bpf", 2)]
    body = struct.pack("=I", len(nodes)) + b"".join(
        struct.pack("=32s32sII", name.encode(), kind.encode(), 5, hooks) for name, kind, hooks in nodes
    )
    header = struct.pack("=BBHIIIII32s", 8, 0, 0, len(body), netgraph.LIST_NAMES, 1, 1, 1137070366, b"listnames")
    assert netgraph.parse_names(header + body) == netgraph.nodes_of("tap10")
    assert len(netgraph.list_names(1)) == 56
    assert netgraph.address(".:") == b"\x05\x20.:\0"
    with pytest.raises(ValueError, match="no list"):
        netgraph.parse_names(b"")


def bytes_after(text: str, command: str) -> bytes:
    shown = text.split(command, 1)[1].split("ifd_data (76 bytes): ", 1)[1].split("\n", 1)[0]
    return bytes.fromhex(shown)


def test_entries_of_a_vxlan_as_recorded() -> None:
    text = (TRANSCRIPTS / "23-vxlan.txt").read_text()
    assert vxlan.entry("0a:9f:17:eb:44:d7", "10.9.0.2") == bytes_after(text, "$ vxfte vxlan10 add 0a:9f:17:eb:44:d7")
    assert vxlan.entry("0a:9f:17:eb:44:d7") == bytes_after(text, "$ vxfte vxlan10 rem 0a:9f:17:eb:44:d7")
    sixth = next(part for part in text.split("ifd_data (76 bytes): ") if "1c 1c 00 00" in part).split("\n")[0]
    assert vxlan.entry("02:00:00:00:00:79", "fd00::1") == bytes.fromhex(sixth)
    flushes = text.split("$ vxfte vxlan10 flush; ", 1)[1].split("ifd_data (76 bytes): ")
    assert vxlan.flush() == bytes.fromhex(flushes[2].split("\n")[0])


def test_numbers_of_requests() -> None:
    """Made from their definitions (sys/sockio.h, net/pfvar.h): direction, size, group, number."""

    def number(direction: int, size: int, group: str, command: int) -> int:
        return direction << 29 | size << 16 | ord(group) << 8 | command

    void, out, both = 1, 4, 6
    assert number(both, 32, "i", 17) == system._GET_FLAGS
    assert number(both, 32, "i", 51) == system._GET_MTU
    assert number(both, 40, "i", 123) == system._GET_SPEC
    assert system._SET_SPEC == number(out, 40, "i", 123) == 0x8028697B
    assert number(void, 0, "D", 1) == system._PF_START
    assert number(both, 4 + 1024 + 64, "D", 58) == system._PF_RULESETS
    assert number(both, 4 + 1024 + 64, "D", 59) == system._PF_RULESET


def test_a_lease_is_known_by_dhcpv6_from_a_duid_that_is_made_of_the_mac() -> None:
    """dnsmasq reads no neighbours of IPv6 on FreeBSD: without this, such a guest got no address (seen on 13.2)."""
    mac = "02:00:00:00:00:05"
    two = NetworkSpec(
        name="n", digest="0" * 16, kind="isolated",
        leases=(
            Lease(mac=mac, addresses=("10.0.0.5", "10.1.0.5", "fd00::5"), hostname="files"),
            Lease(mac="02:00:00:00:00:06", addresses=("10.0.0.6",)),
        ),
    )  # fmt: skip
    assert dnsmasq.leases(two).splitlines() == [
        f"{mac},id:00:03:00:01:{mac},10.0.0.5,[fd00::5],files",
        f"{mac},10.1.0.5,files",
        "02:00:00:00:00:06,10.0.0.6",
    ]
