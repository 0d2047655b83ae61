"""Every guest runs as a user of its own, and no two guests share a uid (guard.claims)."""

from __future__ import annotations

import itertools

from ..guard import claims
from ..handlers import Failure
from ..policy import Policy


def claim(policy: Policy, guest: str, wanted: int = 0) -> int:
    """A uid for the guest: the wanted one, else the one it has or a free one. Raises Failure(full)."""
    first, last = policy.guest_uids  # the last is that of qemu-img (storage.tool)
    first_choice = [wanted] if first <= wanted < last else []
    uid = claims.claim(
        policy, "uids", guest, lambda: itertools.chain(first_choice, claims.spread(guest, first, last - first))
    )
    if uid is None:
        raise Failure("full", f"guest {guest}: all uids of guest_uids in the policy are in use; widen the range")
    return uid
