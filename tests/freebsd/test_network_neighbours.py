"""Answers in other ports' place: what the filter lets through, what is answered, how bpf(4) gives frames."""

from __future__ import annotations

import struct

import network_frames as f
import pytest
from bpf_interpreter import run, validate
from skep_helper.freebsd.network import neighbours, responder
from skep_helper.freebsd.network.bpf import Instruction
from skep_helper.vocabulary import NetworkSpec
from skep_helper.vocabulary.network import Neighbour, Remote

OWN, ASKER, FAR = "02:00:00:00:00:01", "02:00:00:00:00:05", "02:00:00:00:00:33"
FAR4, FAR6 = "10.0.0.33", "fd00::33"
SPEC = NetworkSpec(
    name="net", digest="0" * 16, kind="vxlan", vni=7, local="192.0.2.1",
    remotes=(Remote(address="192.0.2.3", neighbours=(Neighbour(mac=FAR, addresses=(FAR4, FAR6)),)),),
)  # fmt: skip
KNOWN = neighbours.table(SPEC)


def arp(target: str, sender: str = "10.0.0.5", operation: int = 1) -> bytes:
    return f.ether(ASKER, f.BROADCAST, f.ARP, f.arp(operation, ASKER, sender, "00:00:00:00:00:00", target))


def solicitation(target: str, source: str = "fd00::5") -> bytes:
    group = "ff02::1:ff00:33"
    body = bytes(4) + f.packed(target) + b"\1\1" + f.mac(ASKER)
    packet = f.ipv6(source, group, f.ICMP6, f.icmp6(source, group, 135, body))
    return f.ether(ASKER, "33:33:ff:00:00:33", f.IPV6, packet)


def answered(frame: bytes) -> bytes | None:
    return neighbours.answer(frame, KNOWN, f.mac(OWN))


def test_arp() -> None:
    assert answered(arp(FAR4)) == f.ether(OWN, ASKER, f.ARP, f.arp(2, FAR, FAR4, ASKER, "10.0.0.5"))


def test_an_arp_probe_is_told_that_the_address_is_taken() -> None:
    assert answered(arp(FAR4, "0.0.0.0")) == f.ether(OWN, ASKER, f.ARP, f.arp(2, FAR, FAR4, ASKER, "0.0.0.0"))


def test_nd() -> None:
    body = struct.pack(">I", 0x40000000) + f.packed(FAR6) + b"\2\1" + f.mac(FAR)
    packet = f.ipv6(FAR6, "fd00::5", f.ICMP6, f.icmp6(FAR6, "fd00::5", 136, body))
    assert answered(solicitation(FAR6)) == f.ether(OWN, ASKER, f.IPV6, packet)


def test_duplicate_address_detection_is_answered_to_everybody() -> None:
    body = bytes(4) + f.packed(FAR6) + b"\2\1" + f.mac(FAR)
    packet = f.ipv6(FAR6, "ff02::1", f.ICMP6, f.icmp6(FAR6, "ff02::1", 136, body))
    assert answered(solicitation(FAR6, "::")) == f.ether(OWN, "33:33:00:00:00:01", f.IPV6, packet)


OTHERS = {
    "another address": arp("10.0.0.34"),
    "a reply": arp(FAR4, operation=2),
    "another address, ND": solicitation("fd00::34"),
    "an advertisement": solicitation(FAR6)[:54] + b"\x88" + solicitation(FAR6)[55:],
    "from another link": solicitation(FAR6)[:21] + b"\x40" + solicitation(FAR6)[22:],
    "cut short": solicitation(FAR6)[:70],
    "an ARP of another hardware": arp(FAR4)[:14] + b"\0\6" + arp(FAR4)[16:],
    "the port itself": f.ether(FAR, f.BROADCAST, f.ARP, f.arp(1, FAR, FAR4, f.BROADCAST, FAR4)),
    "nothing": b"",
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_not_answered(case: str) -> None:
    assert answered(OTHERS[case]) is None


def test_the_filter() -> None:
    program = tuple(Instruction(*instruction) for instruction in neighbours.FILTER)
    validate(program)
    for frame in (arp(FAR4), arp("10.0.0.34"), solicitation(FAR6), solicitation("fd00::9", "::")):
        assert run(program, frame)
    other = f.ether(ASKER, OWN, f.IPV4, f.ipv4("10.0.0.5", "10.0.0.1", f.UDP, bytes(60)))
    for frame in (other, OTHERS["a reply"], OTHERS["an advertisement"]):
        assert not run(program, frame)


def test_frames_as_bpf_gives_them() -> None:
    def given(frame: bytes) -> bytes:
        head = struct.pack("=qqIIH", 1, 2, len(frame), len(frame), 32).ljust(32, b"\0")
        return (head + frame).ljust(-(-(32 + len(frame)) // 8) * 8, b"\0")

    first, second = arp(FAR4), solicitation(FAR6)
    assert list(responder.frames(given(first) + given(second))) == [first, second]
    assert list(responder.frames(given(first)[:10])) == []
