"""Which network must let go of a wire before another can take it."""

from __future__ import annotations

from collections.abc import Mapping

from skepd.model.objects import Network

Wire = tuple[object, ...]


def wire_of(network: Network) -> Wire | None:
    """What no two networks of a host can have: a VLAN of an uplink, an uplink itself, a VXLAN identifier."""
    if network.kind == "vxlan":
        return ("vni", network.vni)
    if network.kind in ("flat", "vlan"):
        return (network.uplink, network.vlan)
    return None


def turns(before: Mapping[str, Network], after: Mapping[str, Network]) -> dict[str, int | None]:
    """NAME -> after how many others in a row a network comes; None when they wait for each other in a ring.

    Only networks that wait are in it. Networks that go altogether let go before all of them, see builder.Phase.
    """
    holders = {wire_of(network): name for name, network in before.items() if name in after}
    waits: dict[str, str] = {}
    for name, network in after.items():
        wire = wire_of(network)
        holder = holders.get(wire, name)
        if wire is not None and holder != name and wire_of(after[holder]) != wire:
            waits[name] = holder
    return {name: _turn(name, waits) for name in waits}


def _turn(name: str, waits: Mapping[str, str]) -> int | None:
    seen = {name}
    while name in waits:
        name = waits[name]
        if name in seen:
            return None
        seen.add(name)
    return len(seen) - 1
