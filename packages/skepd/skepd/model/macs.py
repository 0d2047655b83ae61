"""MAC addresses that nobody wrote down: derived from the port's name, so that they never change."""

from __future__ import annotations

import hashlib

from .objects import Leg, Port, Router


def mac_of(port: Port) -> str:
    """The MAC address of a port: its own, or one derived from its name (02:..., locally administered).

    40 bits of a digest: two ports of a host meet with a chance of 1 in 20,000 at 10,000 ports; `check` tells.
    """
    return port.mac or _derive(f"port {port.name}")


def leg_mac(router: Router, leg: Leg) -> str:
    """The MAC address of a router's leg."""
    return _derive(f"router {router.name} {leg.network}")


def _derive(text: str) -> str:
    digest = hashlib.sha256(f"skep {text}".encode()).digest()
    return ":".join(["02", *(f"{byte:02x}" for byte in digest[:5])])
