"""What the kernel allows this process."""

from __future__ import annotations

import resource

SPARE = 256
"""Descriptors beside those of connections: files, the index, listeners, connections to the helper."""


def allow_descriptors(connections: int) -> None:
    """Have room for this many connections, as far as the hard limit goes: a server that can open nothing more can
    refuse nobody either."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE if hard == resource.RLIM_INFINITY else min(connections + SPARE, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
