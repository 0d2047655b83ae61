"""A guest with two disks and two ports is made, changed and deleted while skepd, the helper and the guest's guard are
killed: what is there after the restart is what an undisturbed run leaves, and nothing else."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import host_lab
import pytest
from host_lab import Machine, machine, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]
SEED = int(os.environ.get("SKEP_KILL_SEED", "20261"))
ROUNDS = int(os.environ.get("SKEP_KILL_ROUNDS", "4"))
"""Each kills skepd, the helper and the guard once."""
GUEST = "files"
BASE = """
[host]
name = "killed"
forwarding = true

[image.skep-small]
version = "1"

[filter.admin]
rules = ["in tcp 22", "out any"]

[network.wan]
kind = "nat"
subnet = "10.31.0.0/24"

[network.lan]
subnet = "10.32.0.0/24"
"""
NICS = """
[[guest.files.nic]]
network = "wan"
addresses = "10.31.0.10"
filters = "admin"

[[guest.files.nic]]
network = "lan"
addresses = "10.32.0.10"
"""
CREATED = (
    BASE
    + """
[guest.files]
memory = "128M"
screen = false
boot = { shutdown-timeout = "1s" }
cloud-init = { user = "anna" }

[[guest.files.disk]]
name = "system"
image = "skep-small"

[[guest.files.disk]]
name = "data"
size = "64M"
"""
    + NICS
)
CHANGED = (
    CREATED.replace('"128M"', '"160M"')
    .replace('"64M"', '"96M"')
    .replace("in tcp 22", "in tcp 80")
    .replace(
        NICS,
        """
[[guest.files.disk]]
name = "more"
size = "32M"
"""
        + NICS.replace("10.32.0.10", "10.32.0.11"),
    )
)
SITES = {"create": CREATED, "change": CHANGED, "delete": BASE}


@dataclass
class Kill:
    """who: skepd, helper, guard. place: number of the announcement. delay: seconds after it; skepd then is at work."""

    who: str
    place: int
    delay: float = 0.0
    hit: str = ""


@dataclass
class Run:
    """labels: what was announced. result: None when skepd was killed."""

    labels: list[str] = field(default_factory=list)
    result: dict[str, Any] | None = None


def run(here: Machine, site: str, kill: Kill | None = None) -> Run:
    """One life of skepd that recovers and applies a site ("" for none)."""
    path = here.folder / "site.toml"
    path.write_text(site)
    command = [sys.executable, host_lab.__file__, str(here.socket), str(here.state), str(here.pool)]
    child = subprocess.Popen(
        [*command, str(path)] if site else command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    done = Run()
    with child:
        for line in child.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "result":
                done.result = json.loads(rest)
                continue
            done.labels.append(line.strip())
            now = kill is not None and len(done.labels) - 1 == kill.place
            if now and kill and not kill.delay:
                strike(here, child, kill, done.labels[-1])
            if child.poll() is None:
                child.stdin.write("\n")
                child.stdin.flush()
            if now and kill and kill.delay:
                time.sleep(kill.delay)
                strike(here, child, kill, done.labels[-1])
            if kill and kill.hit and kill.who == "skepd":
                break
    return done


def strike(here: Machine, child: subprocess.Popen[str], kill: Kill, label: str) -> None:
    kill.hit = label
    if kill.who == "skepd":
        child.kill()
        child.wait()
    elif kill.who == "helper":
        here.kill_helper()
    else:
        # As soon as there is one: when the guest is just being started, a moment may pass.
        wait_for(lambda: here.kill_guard(GUEST), "a guard to kill")


def state_of(here: Machine) -> dict[str, Any]:
    """Everything that two runs must have in common, on the machine and in its files."""
    seen = here.observe()
    definitions = {
        str(path.relative_to(here.folder)): path.read_text()
        for top in (here.state, here.pool / "guests")
        for path in sorted(top.rglob("*.toml"))
    }
    return {
        "definitions": definitions,
        "disks": [
            (folder.guest, disk.disk, disk.format, disk.size, disk.image)
            for folder in seen.storage.folders
            for disk in folder.disks
        ],
        "seeds": [(folder.guest, folder.seed_digest) for folder in seen.storage.folders],
        "trash": seen.storage.trash,
        "images": [(image.image, image.users) for image in seen.storage.images],
        "networks": seen.networks,
        "guests": [(guest.name, guest.digest) for guest in seen.guests if guest.state == "running"],
        "namespaces": here.namespaces(),
        "links": here.links(),
        "rules": re.sub(r"handle \d+", "", here.ruleset()),
        "files": here.files(),
        # A spawner of guards lives as long as its helper or one of its guards: it may be there or not.
        "processes": sorted(name for name in here.processes().values() if name != "spawner"),
    }


def difference(now: Any, wanted: Any) -> Any:
    if isinstance(now, list):
        return {"more": [one for one in now if one not in wanted], "less": [one for one in wanted if one not in now]}
    return now, wanted


def settled(here: Machine, wanted: dict[str, Any]) -> dict[str, Any]:
    """The state once it is as wanted, or the difference that stays: dying processes take a moment to be gone."""
    end = time.monotonic() + 15
    while True:
        now = state_of(here)
        wrong = {key: difference(now[key], wanted[key]) for key in now if now[key] != wanted[key]}
        if not wrong or time.monotonic() > end:
            return wrong
        time.sleep(0.2)


@pytest.fixture
def here() -> Iterator[Machine]:
    with machine() as made:
        made.publish()
        yield made


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def chosen(operation: str, who: str, labels: list[str], source: random.Random) -> Kill:
    """A place among those of an undisturbed run; half of the time while the request is under way."""
    places = list(range(len(labels)))
    if who == "guard":
        # While there is one: until the guest's end, and from its start on.
        start = next((n for n, label in enumerate(labels) if label.endswith(" StartGuest")), len(labels))
        stop = next((n for n, label in enumerate(labels) if label.endswith(" StopGuest")), -1)
        places = [n for n in places if n <= stop or n >= start]
        place = source.choice(places)
        soon = place == start or source.random() < 0.5
        return Kill(who, place, source.uniform(0.0001, 0.1) if soon and labels[place].startswith("before") else 0.0)
    place = source.choice(places)
    during = labels[place].startswith("before") and source.random() < 0.5
    return Kill(who, place, source.uniform(0.001, 0.2) if during else 0.0)


@pytest.mark.timeout(0)
def test_kills(here: Machine) -> None:
    undisturbed = {"create": Run(), "change": Run(), "delete": Run()}
    states = {}
    run(here, BASE)
    for operation, site in SITES.items():
        undisturbed[operation] = run(here, site)
        result = undisturbed[operation].result
        assert result is not None
        assert (result["state"], result["error"]) == ("done", "")
        states[operation] = state_of(here)
    assert here.helper is not None
    held = descriptors(here.helper.pid)
    source = random.Random(SEED)
    culprits = ["skepd", "helper", "guard"] * ROUNDS
    source.shuffle(culprits)
    for number, who in enumerate(culprits):
        operation = list(SITES)[number % 3]
        kill = chosen(operation, who, undisturbed[operation].labels, source)
        done = run(here, SITES[operation], kill)
        told = f"kill {number}: {who} at {operation}, {kill.hit or 'never'} + {kill.delay:.3f} s"
        print(told, done.result and (done.result["state"], done.result["error"]))
        assert kill.hit, told
        after = run(here, "")
        assert after.result is not None, told
        assert settled(here, states[operation]) == {}, told
        again = run(here, SITES[operation])
        assert again.result is not None, told
        assert (again.result["state"], again.result["steps"]) == ("done", []), told
        assert again.result["descriptors"] == [], told
    assert descriptors(here.helper.pid) <= held
