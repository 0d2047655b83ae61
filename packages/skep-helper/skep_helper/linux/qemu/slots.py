"""Where a slot is on the guest's PCI bus. A pure function of the number: adding a device never moves another.

pcie.0  01 screen  02 random numbers  03 agent  04 USB  05 root ports of passed-through devices
            06 seed
        08-1b slots 0-19  1c-1e root ports of slots 20-43  1f ICH9 (LPC, SATA)
"""

from __future__ import annotations

from dataclasses import dataclass

from ...vocabulary.fields import Rejected

SCREEN, RANDOM, AGENT, USB, PASSTHROUGH, SEED = "0x1", "0x2", "0x3", "0x4", 5, "0x6"
_FIRST = 8
_DIRECT = 20
_PORTS = 24
SLOTS = _DIRECT + _PORTS
SATA_SLOTS = 5
"""Slots below this use a port of ICH9's own SATA controller; its sixth port is a Windows guest's seed."""


@dataclass(frozen=True)
class Place:
    """bus and addr of a device. root_ports: the devices that make the bus, first to last."""

    bus: str
    addr: str
    root_ports: tuple[tuple[str, str], ...] = ()
    """(id, addr) of root ports on pcie.0. Function 0 must be there for the others to be seen."""


def place(slot: int) -> Place:
    if not 0 <= slot < SLOTS:
        raise Rejected(f"slot {slot}: a guest has the slots 0 to {SLOTS - 1}")
    if slot < _DIRECT:
        return Place("pcie.0", f"{_FIRST + slot:#x}")
    device, function = divmod(slot - _DIRECT, 8)
    addr = _FIRST + _DIRECT + device
    needed = sorted({0, function})
    return Place(
        f"port-{addr:x}.{function}", "0x0", tuple((f"port-{addr:x}.{item}", f"{addr:#x}.{item}") for item in needed)
    )
