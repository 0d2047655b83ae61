"""A guest played by a test: it reads and writes frames on the tap of its port."""

from __future__ import annotations

import contextlib
import os
import select

import network_frames as f
from skep_helper.vocabulary import PortSpec

SAFETY = 60.0
"""Seconds after which a frame that must come counts as lost; nothing is asserted about time."""


class Guest:
    """A guest: reads and writes frames on the tap of its port."""

    def __init__(self, descriptor: int, spec: PortSpec, header: int = 0) -> None:
        """header: bytes that the platform's tap has before each frame, all zero."""
        self.descriptor = descriptor
        self.header = bytes(header)
        self.spec = spec
        self.mac = spec.mac
        self.address = next((a for a in spec.addresses if ":" not in a), "")
        self.address6 = next((a for a in spec.addresses if ":" in a), "")

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            os.write(self.descriptor, self.header + frame)

    def receive(self) -> bytes:
        """The next frame; fails when none comes."""
        ready, _, _ = select.select([self.descriptor], [], [], SAFETY)
        assert ready, f"{self.spec.name} received nothing"
        return os.read(self.descriptor, 70_000)[len(self.header) :]

    def until(self, mark: bytes, answer: bool = False) -> list[bytes]:
        """Every frame up to the one that holds mark, that one included; answer: who asks for the guest's address."""
        frames = []
        while True:
            frame = self.receive()
            if answer:
                self.send(*f.answers(frame, self.mac, self.spec.addresses))
            frames.append(frame)
            if mark in frame:
                return frames

    def ask(self, question: bytes, mark: bytes, answer: bool = False) -> bytes:
        """The first frame that holds mark. Asks again every second, as clients do: a server may still be starting.

        answer: who asks for the guest's address."""
        for _ in range(30):
            self.send(question)
            while select.select([self.descriptor], [], [], 1.0)[0]:
                frame = self.receive()
                if answer:
                    self.send(*f.answers(frame, self.mac, self.spec.addresses))
                if mark in frame:
                    return frame
        raise AssertionError(f"{self.spec.name} was not answered")

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.read(self.descriptor, 70_000)

    def udp(self, to: Guest, data: bytes, source: int = 1000, destination: int = 2000, version: int = 4) -> bytes:
        """A datagram to another guest of the network."""
        if version == 4:
            ends = (self.address, to.address)
            packet = f.ipv4(*ends, f.UDP, f.udp(*ends, source, destination, data))
            return f.ether(self.mac, to.mac, f.IPV4, packet)
        ends = (self.address6, to.address6)
        packet = f.ipv6(*ends, f.UDP, f.udp(*ends, source, destination, data))
        return f.ether(self.mac, to.mac, f.IPV6, packet)

    def tcp(
        self, to: Guest, flags: int, data: bytes = b"", source: int = 1000, destination: int = 2000,
        sequence: int = 1, ack: int = 1,
    ) -> bytes:  # fmt: skip
        ends = (self.address, to.address)
        segment = f.tcp(*ends, source, destination, flags, sequence, ack, data)
        return f.ether(self.mac, to.mac, f.IPV4, f.ipv4(*ends, f.TCP, segment))

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
