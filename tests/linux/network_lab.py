"""A host to try networks on: a network stack of its own that plays the host, and guests played on their taps."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import network_frames as f
from network_guest import SAFETY, Guest
from skep_helper.handlers import Context
from skep_helper.linux.network import HANDLERS, names
from skep_helper.linux.network.taps import open_tap
from skep_helper.policy import Policy
from skep_helper.vocabulary import (
    ApplyNetwork,
    ApplyPort,
    ApplyRouter,
    NetworkSpec,
    PortSpec,
    ReadNetworks,
    RemoveNetwork,
    RemovePort,
    RemoveRouter,
    RouterSpec,
)

DIGEST = "0123456789abcdef"
VNET_HEADER = 10
_EVERY_TYPE = 3
_SOL_PACKET, _PACKET_AUXDATA, _TAG_VALID = 263, 8, 0x10
_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count()


@contextlib.contextmanager
def own_stack() -> Iterator[None]:
    """Run in a new network stack, so that no test touches the machine's own."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert _libc.unshare(0x40000000) == 0
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        # No addresses that come by themselves, some time after their interface: tests compare the host's state.
        Path("/proc/sys/net/ipv6/conf/default/addr_gen_mode").write_text("1")
        yield
    finally:
        assert _libc.setns(before, 0x40000000) == 0
        os.close(before)


class Wire:
    """The far end of an interface of the host: reads and writes frames on it."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_TYPE))
        self._socket.bind((interface, _EVERY_TYPE))
        self._socket.settimeout(SAFETY)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self.seen = b""
        """Everything that came in so far."""

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def until(self, mark: bytes) -> bytes:
        """The first frame that holds mark and came in (not what was sent from here)."""
        while True:
            frame, extra, _, origin = self._socket.recvmsg(70_000, 256)
            if origin[2] == socket.PACKET_OUTGOING:
                continue
            for _, kind, data in extra:
                status, *_, tag, protocol = struct.unpack("=IIIHHHH", data)
                if kind == _PACKET_AUXDATA and status & _TAG_VALID:  # the kernel takes the tag out of the frame
                    frame = f.tagged(frame, tag, protocol)
            self.seen += frame
            if mark in frame:
                return frame

    def close(self) -> None:
        self._socket.close()


class Lab:
    """The handlers over a policy of their own, and what was made with them."""

    def __init__(self, **policy: Any) -> None:
        self.run = Path(tempfile.mkdtemp(prefix="skep-net-"))
        self.run.chmod(0o755)
        self.policy = Policy(run=self.run, **policy)
        self.guests: list[Guest] = []
        self.unique = f"t{os.getpid()}-{next(_serial)}"

    def name(self, short: str) -> str:
        return f"{self.unique}-{short}"

    def do(self, request: Any) -> Any:
        return HANDLERS[type(request)](Context(self.policy, 0), request)

    def read(self) -> Any:
        return self.do(ReadNetworks())

    def network(self, short: str, **fields: Any) -> NetworkSpec:
        spec = NetworkSpec(name=self.name(short), digest=DIGEST, **{"kind": "isolated", **fields})
        self.do(ApplyNetwork(network=spec))
        return spec

    def port(self, network: NetworkSpec, number: int, **fields: Any) -> Guest:
        """A port with MAC 02:00:00:00:00:NUMBER and addresses 10.0.0.NUMBER and fd00::NUMBER, unless told."""
        known = {
            "mac": f"02:00:00:00:00:{number:02x}",
            "addresses": (f"10.0.0.{number}", f"fd00::{number:x}"),
            "filtered": False,
            **fields,
        }
        spec = PortSpec(
            name=f"{network.name}.n{number}", network=network.name, digest=DIGEST, rules_digest=DIGEST, **known
        )
        self.do(ApplyPort(port=spec))
        guest = Guest(open_tap(self.policy, spec.name), spec, VNET_HEADER)
        self.guests.append(guest)
        self.wait_forwarding(spec)
        return guest

    def wait_forwarding(self, spec: PortSpec) -> None:
        """The kernel takes a moment to put a port to work after its tap was opened; frames before that are lost."""
        state = f"/sys/class/net/{names.tap(self.policy, spec.name)}/brport/state"
        for _ in range(1000):
            if self.inside(names.network_namespace(spec.network), "cat", state).strip() == "3":
                return
        raise AssertionError(f"{spec.name} does not forward")

    def change(self, guest: Guest, **fields: Any) -> None:
        guest.spec = replace(guest.spec, **fields)
        self.do(ApplyPort(port=guest.spec))

    def router(self, short: str, **fields: Any) -> RouterSpec:
        spec = RouterSpec(name=self.name(short), digest=DIGEST, **fields)
        self.do(ApplyRouter(router=spec))
        return spec

    def inside(self, namespace: str, *argv: str) -> str:
        command = ["ip", "netns", "exec", namespace, *argv]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def close(self) -> None:
        for guest in self.guests:
            guest.close()
        reading = self.read()
        for router in reading.routers:
            self.do(RemoveRouter(router=router.name))
        for port in reading.ports:
            self.do(RemovePort(port=port.name, network=port.network))
        for network in reading.networks:
            self.do(RemoveNetwork(network=network.name))
        shutil.rmtree(self.run)
