"""Where a guest's taps are: in its jail's stack while bhyve opens them, in their networks' stacks from then on.

bhyve refuses a tap that is in another stack than its own. A tap that moves keeps its opener, but loses its bridge and
is down, so it joins and comes up anew; and it goes through the host's stack, from where jails are reached.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

Command = list[str]


@dataclass(frozen=True, kw_only=True)
class Tap:
    """port: its name in the definition. device: below /dev, which keeps its name when the interface is renamed.
    interface: what the interface is called. stack: the jail of its network. bridge: in that jail."""

    port: str
    device: str
    interface: str
    stack: str
    bridge: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def reclaim(tap: Tap, jail: str) -> Command:
    """Back into the host's stack. Fails when it is not in that jail, or the jail is gone (and the tap on the host)."""
    return ["ifconfig", tap.interface, "-vnet", jail]


def give(tap: Tap, jail: str) -> Command:
    """From the host's stack into a jail's."""
    return ["ifconfig", tap.interface, "vnet", jail]


def join(tap: Tap) -> list[Command]:
    """In its network's stack: a member of the bridge, and up."""
    return [
        ["jexec", tap.stack, "ifconfig", tap.bridge, "addm", tap.interface],
        ["jexec", tap.stack, "ifconfig", tap.interface, "up"],
    ]
