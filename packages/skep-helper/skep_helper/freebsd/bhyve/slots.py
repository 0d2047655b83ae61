"""Where a slot is on the guest's PCI bus 0. A pure function of the number: adding a device never moves another.

    00 host bridge  01 random numbers  02 agent  03 seed  04-17 slots 0-19  18-1a slots 20-43, eight to a device
    1b passed-through devices          1d screen  1e USB  1f LPC

The three last are where the handbook has them. A guest looks at functions 1 to 7 only when there is a function 0, so
slots from 20 on may need a placeholder there.
"""

from __future__ import annotations

from ...vocabulary.fields import Rejected

HOST_BRIDGE, RANDOM, AGENT, SEED = "0.0", "1.0", "2.0", "3.0"
SCREEN, USB, LPC = "29.0", "30.0", "31.0"
_FIRST = 4
_DIRECT = 20
_SHARED = 24
_FUNCTIONS = 8
_PASSTHROUGH = 27
SLOTS = _DIRECT + _SHARED


def place(slot: int) -> str:
    """DEVICE.FUNCTION of a slot, decimal as in bhyve_config(5). Raises Rejected for a slot that there is not."""
    if not 0 <= slot < SLOTS:
        raise Rejected(f"slot {slot}: a guest has the slots 0 to {SLOTS - 1}")
    if slot < _DIRECT:
        return f"{_FIRST + slot}.0"
    device, function = divmod(slot - _DIRECT, _FUNCTIONS)
    return f"{_FIRST + _DIRECT + device}.{function}"


def passthrough(index: int) -> str:
    """Of the device passed through at this position of the definition."""
    if not 0 <= index < _FUNCTIONS:
        raise Rejected(f"a guest can have {_FUNCTIONS} passed-through devices")
    return f"{_PASSTHROUGH}.{index}"


def placeholder(place: str) -> str:
    """Function 0 of the same device."""
    return f"{place.partition('.')[0]}.0"
