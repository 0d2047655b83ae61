"""Networks whose guests are played by the test: it opens their taps as bhyve does, and sends frames that it makes.

A tap's device keeps its name whatever its interface is called and whichever jail's stack it is in. (The frames of the
other platform are tried in tests/linux, in a network stack that plays the host.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from conformance_lab import PREFIX, need
from network_guest import Guest
from planning import observe
from skep_helper import vocabulary as v
from skepd.host import Host
from skepd.plan.digests import NO_DIGEST, sealed


class Taps:
    """As network_rules.Lab wants it. What it makes is swept up with everything else of the suite."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.guests: list[Guest] = []

    def network(self, short: str, **fields: Any) -> v.NetworkSpec:
        known = {"name": f"{PREFIX}-{short}", "digest": NO_DIGEST, "kind": "isolated", **fields}
        spec = sealed(v.NetworkSpec(**known))
        self.do(v.ApplyNetwork(network=spec))
        return spec

    def port(self, network: v.NetworkSpec, number: int, **fields: Any) -> Guest:
        """A port with MAC 02:00:00:00:00:NUMBER and addresses 10.0.0.NUMBER and fd00::NUMBER, unless told."""
        known = {
            "name": f"{network.name}.n{number}",
            "network": network.name,
            "digest": NO_DIGEST,
            "rules_digest": NO_DIGEST,
            "mac": f"02:00:00:00:00:{number:02x}",
            "addresses": (f"10.0.0.{number}", f"fd00::{number:x}"),
            "filtered": False,
            **fields,
        }
        spec = sealed(v.PortSpec(**known))
        self.do(v.ApplyPort(port=spec))
        guest = Guest(os.open(self.device(spec.name), os.O_RDWR | os.O_NONBLOCK), spec)
        self.guests.append(guest)
        return guest

    def interface(self, port: str) -> str:
        return observe(self.host).port_of[port].interface

    def device(self, port: str) -> str:
        return f"/dev/{os.readlink(f'/dev/{self.interface(port)}')}"

    def change(self, guest: Guest, **fields: Any) -> None:
        guest.spec = sealed(replace(guest.spec, **fields))
        self.do(v.ApplyPort(port=guest.spec))

    def do(self, request: Any) -> Any:
        return self.host.perform([request])[0]

    def read(self) -> Any:
        return observe(self.host).networks


@contextmanager
def taps(host: Host) -> Iterator[Taps]:
    """Their taps are closed at the end, for an open one cannot be removed."""
    need(host, "guard", "rules")
    made = Taps(host)
    try:
        yield made
    finally:
        for guest in made.guests:
            guest.close()
