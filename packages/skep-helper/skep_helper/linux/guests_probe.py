"""Probe: where pings and connections start from on Linux, the network's namespace."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..guard import probing
from ..handlers import Context, Failure
from ..policy import Policy
from ..vocabulary.guest import Probe, ProbeReading
from .network import names, namespaces
from .network.records import Records


def probe(context: Context, request: Probe) -> ProbeReading:
    return probing.probe(context, request, _within)


def _within(policy: Policy, network: str, work: Callable[[], ProbeReading]) -> ProbeReading:
    stack = Records(policy).network(network)
    if stack is None:
        raise Failure("missing", f"network {network} is not on this host: apply it first")
    descriptor = namespaces.open_namespace(names.network_namespace(network), stack.inode)
    try:
        return namespaces.inside(descriptor, work)
    finally:
        os.close(descriptor)
