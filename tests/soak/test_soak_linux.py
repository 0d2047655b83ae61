"""Guests come and go a thousand times on this machine: memory, descriptors and objects stay what they were.

SKEP_SOAK_LIFECYCLES: how many; 1,000 in `make soak`, 20 otherwise. Nothing boots: the firmware is as far as they get.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "linux"))

from host_lab import SAFETY, Machine, machine, wait_for
from skepd.engine.contract import Operation
from skepd.engine.engine import Engine

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(0)]
LIFECYCLES = int(os.environ.get("SKEP_SOAK_LIFECYCLES", "1000" if os.environ.get("SKEP_SOAK") else "20"))
MEMORY = 2 << 20
"""What a process may grow by in the second half, in bytes: an allocator's slack; 4 KiB a lifecycle would be more."""
EMPTY = """
[host]
name = "mayfly"

[filter.admin]
rules = ["in tcp 22", "out any"]

[network.lan]
subnet = "10.32.0.0/24"
"""
FULL = (
    EMPTY
    + """
[guest.mayfly]
memory = "64M"
screen = false
cloud-init = { user = "anna" }
disk = [{ name = "data", size = "8M" }]
nic = [{ network = "lan", addresses = "10.32.0.10", filters = "admin" }]
"""
)


@pytest.fixture
def here() -> Iterator[Machine]:
    with machine() as made:
        yield made


def done(engine: Engine, operation: Operation) -> None:
    ended = engine.wait(operation.id, SAFETY)
    assert (ended.state, ended.error) == ("done", "")


def lifecycle(engine: Engine) -> None:
    """Define and start, stop, delete."""
    done(engine, engine.apply_site(FULL, "site.toml"))
    done(engine, engine.guest_action("mayfly", "stop", {"timeout": 0}))
    done(engine, engine.apply_site(EMPTY, "site.toml"))


def resident(pid: int | str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) << 10


def descriptors(pid: int | str) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def objects(here: Machine) -> dict[str, Any]:
    return {
        "processes": sorted(name for name in here.processes().values() if name != "spawner"),
        "files": here.files(),
        "links": here.links(),
        "namespaces": here.namespaces(),
        "rules": here.ruleset(),
        "observed": here.observe().networks,
    }


def reading(here: Machine) -> dict[str, int]:
    assert here.helper is not None
    gc.collect()
    return {
        "helper memory": resident(here.helper.pid),
        "helper descriptors": descriptors(here.helper.pid),
        "engine memory": resident("self"),
        "engine descriptors": descriptors("self"),
    }


def repeat(here: Machine, engine: Engine, count: int) -> dict[str, int]:
    begin = time.monotonic()
    for number in range(count):
        lifecycle(engine)
        if (number + 1) % 100 == 0:
            print(f"{number + 1} lifecycles: {reading(here)}", flush=True)
    found = reading(here)
    print(f"{count} lifecycles in {time.monotonic() - begin:.0f} s: {found}", flush=True)
    return found


def test_guests_come_and_go(here: Machine) -> None:
    """In the first half caches fill; the second half must not need more."""
    with here.engine() as engine:
        lifecycle(engine)
        things = objects(here)
        before = repeat(here, engine, LIFECYCLES // 2)
        after = repeat(here, engine, LIFECYCLES - LIFECYCLES // 2)
        wait_for(lambda: objects(here) == things, "the objects of before")
    for name in ("helper descriptors", "engine descriptors"):
        assert after[name] <= before[name], name
    for name in ("helper memory", "engine memory"):
        assert after[name] - before[name] <= MEMORY, name
