"""Where a guest's taps are: in its jail's stack while bhyve opens them, in their networks' stacks from then on.

bhyve refuses a tap that is in another stack than its own. Moving them is the network's business, see
freebsd.network.ports; here is only how a guard asks for it. Both functions run in a process of their own, because the
network's modules are large and a guard is small.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from ...guard.protocol import GuardError

NETWORK = "skep_helper.freebsd.network.ports"
Port = tuple[str, str]
"""Its name, and the name of its tap in /dev when the guest was started."""


def lend(policy: dict[str, Any], ports: Sequence[Port], jail: int) -> None:
    """Into the guest's jail. Raises Failure, and GuardError for another tap than the guest was started with."""
    network, allowed = _network(policy)
    for port, device in ports:
        found = network.lend(allowed, port, jail)
        if found != device:
            raise GuardError("conflict", f"port {port} was made anew ({found}, was {device}); stop and start the guest")


def take(policy: dict[str, Any], ports: Sequence[Port]) -> None:
    """Into their networks, with guard and rules. Raises Failure, once all have been tried."""
    network, allowed = _network(policy)
    errors: list[str] = []
    for port, _ in ports:
        try:
            network.take(allowed, port)
        except Exception as error:  # noqa: BLE001 - one port's trouble must not cut off the others
            errors.append(str(error))
    if errors:
        raise GuardError("failed", "; ".join(errors))


def _network(policy: dict[str, Any]) -> tuple[Any, Any]:
    from ... import policy as policies

    return importlib.import_module(NETWORK), policies.parse(policy)
