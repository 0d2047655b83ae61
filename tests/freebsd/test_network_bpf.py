"""The guard's program, run on the frames that the guard of the other platform is tried with, and on some more."""

from __future__ import annotations

import re
from pathlib import Path

import network_forgeries as frames
import network_frames as f
import pytest
from bpf_interpreter import run, validate
from hypothesis import given
from hypothesis import strategies as st
from skep_helper.freebsd.network import bpf, guard
from skep_helper.freebsd.network.bpf import All, Any, Field, Instruction, Program
from skep_helper.vocabulary import PortSpec, Rejected
from skep_helper.vocabulary.network import AddressPair

D = "0123456789abcdef"
PORT = PortSpec(
    name="g.n0", network="net", digest=D, rules_digest=D, mac=frames.MAC, addresses=(frames.OWN, frames.OWN6)
)


def changed(**fields: object) -> PortSpec:
    return PortSpec(**{**vars(PORT), **fields})  # type: ignore[arg-type]


def passed(spec: PortSpec, *sent: bytes) -> list[bytes]:
    """Those of these frames that pass, each as a tap hands it on: padded to the least length of Ethernet."""
    program = guard.program(spec)
    validate(program)
    return [frame for frame in sent if run(program, frame.ljust(60, b"\0"))]


LATER_FRAGMENTS = {case for case in frames.BAD if "fragments" in case or "second fragment" in case}
"""Their first fragment is dropped, later ones are nothing without it."""


@pytest.mark.parametrize("case", frames.BAD)
def test_a_forged_frame_is_dropped(case: str) -> None:
    sent = frames.BAD[case]
    assert passed(PORT, sent[0]) == []
    if case not in LATER_FRAGMENTS:
        assert passed(PORT, *sent) == []


@pytest.mark.parametrize("case", frames.GOOD)
def test_an_honest_frame_passes(case: str) -> None:
    assert passed(PORT, *frames.GOOD[case]) == frames.GOOD[case]


def test_honest_fragments_pass() -> None:
    payload = f.udp(frames.OWN, frames.VICTIM, 1, 2, b"honest" * 100)
    sent = [frames.to_victim(f.IPV4, packet) for packet in frames.fragments4(payload, 200)]
    assert passed(PORT, *sent) == sent


def test_what_lies_behind_the_packet_is_not_taken_for_its_header() -> None:
    """A first fragment that ends after its options, with a harmless header behind its end, in the same frame."""
    start = f.fragment(f.DESTINATION, 0, True) + f.extension(f.ICMP6)
    short = f.ipv6(frames.OWN6, frames.VICTIM6, f.FRAGMENT, start)
    harmless = f.icmp6(frames.OWN6, frames.VICTIM6, 128, bytes(24))
    assert passed(PORT, frames.to_victim(f.IPV6, short + harmless)) == []
    whole = f.ipv6(frames.OWN6, frames.VICTIM6, f.FRAGMENT, start + harmless)
    assert len(passed(PORT, frames.to_victim(f.IPV6, whole))) == 1


def test_a_claim_must_be_within_the_packet() -> None:
    claim = f.ipv6(frames.OWN6, frames.VICTIM6, f.ICMP6, frames.advertisement(frames.OWN6)[:8])
    assert passed(PORT, frames.to_victim(f.IPV6, claim + f.packed(frames.OWN6))) == []


def test_a_chain_of_headers_is_followed_to_its_limit() -> None:
    udp = f.udp(frames.OWN6, frames.VICTIM6, 1, 2, b"x" * 8)
    for length in range(guard.EXTENSIONS + 2):
        chain = b"".join(f.extension(f.DESTINATION) for _ in range(length - 1)) + f.extension(f.UDP) * (length > 0)
        first = f.DESTINATION if length else f.UDP
        sent = frames.to_victim(f.IPV6, f.ipv6(frames.OWN6, frames.VICTIM6, first, chain + udp))
        assert bool(passed(PORT, sent)) == (length <= guard.EXTENSIONS)


def test_an_advertisement_behind_an_authentication_header() -> None:
    header = bytes([f.ICMP6, 1]) + bytes(10)  # (1 + 2) * 4 bytes
    packet = f.ipv6(frames.LINK_LOCAL, frames.VICTIM6, 51, header + frames.RA)
    assert passed(PORT, frames.to_victim(f.IPV6, packet)) == []


def test_pairs_let_further_addresses_through() -> None:
    source, claim = frames.BAD["ipv4 source"], frames.BAD["arp reply of a foreign address"]
    one = changed(pairs=(AddressPair(mac=None, prefix="10.0.0.77/32"),))
    assert passed(one, *source, *claim) == [*source, *claim]
    every = changed(pairs=(AddressPair(mac=None, prefix="0.0.0.0/0"),))
    assert passed(every, *source, *claim) == source
    another = changed(pairs=(AddressPair(mac=frames.FOREIGN_MAC, prefix="10.0.0.5/32"),))
    assert passed(another, *frames.BAD["mac"], *source) == frames.BAD["mac"]


def test_without_a_guard_only_the_type_counts() -> None:
    """Rules judge what follows; they would take a tagged packet for an untagged one."""
    open_port = changed(guarded=False)
    kept = {case for case, sent in frames.BAD.items() if len(passed(open_port, *sent)) < len(sent)}
    odd = {"tagged", "priority tagged", "tagged by a provider", "tagged twice", "another ether type", "spanning tree"}
    assert kept == odd


def test_a_port_without_addresses_may_only_ask_for_one() -> None:
    bare = changed(addresses=())
    asking = [case for case in frames.GOOD if passed(bare, *frames.GOOD[case])]
    assert asking == ["udp from the link-local address", "dhcp discover", "na of the link-local address",
                      "router solicitation"]  # fmt: skip


def test_a_short_frame_is_dropped() -> None:
    program = guard.program(PORT)
    whole = frames.GOOD["udp over ipv6"][0]
    assert [length for length in range(len(whole)) if run(program, whole[:length]) and length < 58] == []


def test_many_addresses() -> None:
    """Far jumps are bridged; what no program can hold is refused."""
    many = changed(addresses=(*(f"10.0.{n}.5" for n in range(40)), frames.OWN6, frames.OWN))
    assert passed(many, *frames.GOOD["udp"], *frames.BAD["ipv4 source"]) == frames.GOOD["udp"]
    with pytest.raises(Rejected, match=r"g\.n0.*too large a guard"):
        guard.program(changed(addresses=tuple(f"10.{m}.{n}.5" for n in range(20) for m in range(20))))


RECORDED = re.compile(r"bpf_prog_len=117 bpf_prog=\[ (.*?) \] \}'")


def recorded_guard() -> list[Instruction]:
    """The guard of transcript 22, made by tcpdump: 02:00:00:00:00:01, 10.1.0.1, fd00::1, fe80::ff:fe00:1."""
    text = (Path(__file__).parent / "transcripts" / "22-ng-guard.txt").read_text()
    found = RECORDED.search(text)
    assert found is not None
    made = []
    for words in re.findall(r"\{ (.*?) \}", found.group(1)):
        fields = dict(word.split("=") for word in words.split())
        made.append(Instruction(*(int(fields.get(name, "0")) for name in ("code", "jt", "jf", "k"))))
    return made


def test_the_interpreter_runs_the_program_that_a_real_kernel_ran() -> None:
    """Transcript 22: these frames were sent through that program; what arrived stands there."""
    program = recorded_guard()
    validate(program)
    mac, other = "02:00:00:00:00:01", "02:00:00:00:00:02"

    def datagram(source: str) -> bytes:
        packet = f.ipv4(source, "10.1.0.2", f.UDP, f.udp(source, "10.1.0.2", 1000, 2000, bytes(32)))
        return f.ether(mac, other, f.IPV4, packet)

    arrived = [datagram("10.1.0.1"), f.ether(mac, f.BROADCAST, f.ARP, f.arp(1, mac, "10.1.0.1", other, "10.1.0.2"))]
    lost = [datagram("10.1.0.66"), f.ether(mac, f.BROADCAST, f.ARP, f.arp(1, mac, "10.1.0.66", other, "10.1.0.2"))]
    lost += [f.tagged(arrived[0], 7), f.ether("02:00:00:00:00:99", other, f.IPV4, arrived[0][14:])]
    assert [bool(run(program, frame.ljust(60, b"\0"))) for frame in arrived + lost] == [True] * 2 + [False] * 4


CONDITIONS = st.recursive(
    st.builds(
        Field, at=st.integers(0, 7), size=st.just(1), value=st.integers(0, 3), mask=st.sampled_from([3, 0xFFFFFFFF])
    ),
    lambda inner: (
        st.builds(All, st.lists(inner, max_size=4).map(tuple)) | st.builds(Any, st.lists(inner, max_size=4).map(tuple))
    ),
    max_leaves=40,
)


def holds(condition: bpf.Condition, packet: bytes) -> bool:
    if isinstance(condition, Field):
        return packet[condition.at] & condition.mask & 0xFF == condition.value
    return (all if isinstance(condition, All) else any)(holds(part, packet) for part in condition.parts)


@given(CONDITIONS, st.binary(min_size=8, max_size=8).map(lambda data: bytes(byte & 3 for byte in data)))
def test_conditions_mean_what_they_say(condition: bpf.Condition, packet: bytes) -> None:
    program = Program()
    program.decide(condition)
    assert bool(run(bpf.assemble(program), packet)) == holds(condition, packet)


@given(st.integers(1, 160))
def test_jumps_reach_however_far(size: int) -> None:
    """A condition whose first part decides, in front of as many others."""
    program = Program()
    program.unless(Field(0, 1, 1), "drop")
    for _ in range(size):
        program.unless(Field(1, 1, 1), "drop")
    program.jump("accept")
    made = bpf.assemble(program)
    validate(made)
    assert [bool(run(made, packet)) for packet in (b"\1\1", b"\1\0", b"\0\1")] == [True, False, False]
