"""Users of the host that the policy names."""

from __future__ import annotations

import pwd

from .handlers import Failure
from .policy import Policy


def user_of(policy: Policy) -> tuple[int, int]:
    """uid and primary gid of the user that skepd runs as; raises Failure when there is no such user."""
    try:
        entry = pwd.getpwnam(policy.user)
    except KeyError:
        message = f"the policy's user {policy.user!r} does not exist on this host; create it first"
        raise Failure("failed", message) from None
    return entry.pw_uid, entry.pw_gid
