"""skepd's part of the FreeBSD platform. Places are those of hier(7) and of the ports tree."""

from __future__ import annotations

from pathlib import Path

from ..places import Places

PLACES = Places(
    state=Path("/var/db/skep/state"),
    pool=Path("/var/db/skep/pool"),
    socket=Path("/var/run/skepd/skepd.sock"),
    helper=Path("/var/run/skep/helper.sock"),
    signers=Path("/usr/local/etc/skep/allowed-signers"),
)
