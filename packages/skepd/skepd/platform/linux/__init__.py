"""skepd's part of the Linux platform."""

from __future__ import annotations

from pathlib import Path

from ..places import Places

PLACES = Places(
    state=Path("/var/lib/skep/state"),
    pool=Path("/var/lib/skep/pool"),
    socket=Path("/run/skepd/skepd.sock"),
    helper=Path("/run/skep/helper.sock"),
    signers=Path("/etc/skep/allowed-signers"),
)
