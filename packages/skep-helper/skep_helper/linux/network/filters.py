"""Loading of guards and rules into a network's stack."""

from __future__ import annotations

from ...policy import Policy
from .records import NetworkRecord


def network_script(policy: Policy, record: NetworkRecord, namespace: int) -> str:
    return ""
