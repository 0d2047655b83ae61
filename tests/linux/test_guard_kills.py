"""Whoever is killed while a guest starts, helper or guard: one guest runs afterwards, and nothing leaks."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

import pytest
from guests_lab import Lab, lab
from skep_helper.linux import guests
from skep_helper.vocabulary.guest import StopGuest

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
KILLS = 12


@pytest.fixture
def site() -> Iterator[Lab]:
    with lab() as made:
        guests.prepare(made.policy)
        yield made


def ours(site: Lab, kind: str) -> list[int]:
    """Processes of the guest, by their name as ps shows it."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/comm") as comm, open(f"/proc/{name}/cmdline") as line:
                named, text = comm.read().strip(), line.read()
        except OSError:
            continue
        if named.startswith(kind) and (str(site.policy.run) in text or "guest=killed\0" in text):
            found.append(int(name))
    return found


def kill_starting_helper(site: Lab, after: float) -> None:
    helper = os.fork()
    if helper == 0:
        try:
            site.start("killed")
        finally:
            os._exit(0)
    time.sleep(after)
    os.kill(helper, signal.SIGKILL)
    os.waitpid(helper, 0)


def test_kills_at_seeded_places(site: Lab) -> None:
    places = random.Random(2026)
    spawner_descriptors = set()
    for _ in range(KILLS):
        kill_starting_helper(site, places.uniform(0, 0.1))
        if places.random() < 0.6:
            time.sleep(places.uniform(0, 0.05))
            for guard in ours(site, "skep-guard"):
                os.kill(guard, signal.SIGKILL)
        assert site.start("killed").state == "running"
        site.until(lambda: len(ours(site, "qemu")) == 1 and len(ours(site, "skep-guard")) == 1)
        site.do(StopGuest(guest="killed", timeout=0))
        assert not ours(site, "qemu")
        site.until(lambda: not ours(site, "skep-guard"))
        (spawner,) = ours(site, "python")
        spawner_descriptors.add(len(os.listdir(f"/proc/{spawner}/fd")))
        left = sorted(os.listdir(site.policy.run / "guests" / "killed"))
        assert left == ["guard.lock", "guard.log", "serial", "state.json"]
    assert len(spawner_descriptors) == 1
