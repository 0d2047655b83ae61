"""devfs(8) rule sets, numbered for all of the host: each guest has one (guard.claims)."""

from __future__ import annotations

from ..guard import claims
from ..handlers import Failure
from ..policy import Policy

FIRST, COUNT = 20_000, 10_000
"""Far from what administrators and the system use; the last one possible is 65535."""


def claim(policy: Policy, guest: str) -> int:
    """The guest's number. Raises Failure(full)."""
    number = claims.claim(policy, "rulesets", guest, lambda: claims.spread(guest, FIRST, COUNT))
    if number is None:
        raise Failure("full", f"guest {guest}: all {COUNT} devfs rule sets of Skep are in use")
    return number
