"""Probe: where pings and connections start from on FreeBSD, the network's jail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from ..guard import probing
from ..handlers import Context, Failure
from ..policy import Policy
from ..vocabulary.guest import Probe, ProbeReading


def probe(context: Context, request: Probe) -> ProbeReading:
    return probing.probe(context, request, _within)


def _within(policy: Policy, network: str, work: Callable[[], ProbeReading]) -> ProbeReading:
    from .network.records import Records
    from .network.system import System

    stack = Records(policy).network(network)
    if stack is None or not stack.jid:
        raise Failure("missing", f"network {network} is not on this host: apply it first")
    return ProbeReading(**System().enter(stack.jid, lambda: asdict(work())))
