"""The hosts that the conformance suite runs against: the simulated one, and a real one when SKEP_CONFORMANCE names it.

The real one is reached through its helper (SKEP_HELPER: the socket, by default /run/skep/helper.sock). Everything
that a test makes has a name with the suite's prefix, and is removed after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance_lab import PREFIX, publish, sweep
from skepd.helper_client import HelperClient
from skepd.host import Host
from skepd.platform.sim import SimHost

REAL = os.environ.get("SKEP_CONFORMANCE", "")


def _hosts() -> list[object]:
    return ["sim", *([pytest.param(REAL, marks=pytest.mark.real)] if REAL else [])]


@pytest.fixture(params=_hosts())
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    found: Host
    if request.param == "sim":
        found = SimHost()
    else:
        found = HelperClient(Path(os.environ.get("SKEP_HELPER", "/run/skep/helper.sock")))
    sweep(found)
    try:
        yield found
    finally:
        sweep(found)
        found.close()


@pytest.fixture
def image(host: Host) -> str:
    """A published image of IMAGE_SIZE bytes, version 1."""
    name = f"{PREFIX}-image"
    publish(host, name)
    return name
