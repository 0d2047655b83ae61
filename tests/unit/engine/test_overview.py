"""The host at a glance: what is not well is said, with what to do about it."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from engine_world import GUESTS, Life, Machine
from skep_helper.vocabulary import ClockReading, DriveReading, HostUsage, PoolReading, UplinkUsage, UsageReading
from skep_helper.vocabulary.inventory import NicReading, SmartReading
from skepd.engine import trouble
from skepd.engine.engine import Engine
from skepd.engine.slow import Slow
from skepd.host import HostError
from skepd.model.names import Manager
from skepd.model.objects import Disk, Guest


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def engine(machine: Machine) -> Iterator[Engine]:
    running = Life(machine).engine()
    running.recover()
    with contextlib.closing(running):
        operation = running.put(Guest(name="web", disks=(Disk(name="root", size=1 << 30),)), manager=Manager.USER)
        assert running.wait(operation.id, 60).state == "done"
        yield running


def problems(engine: Engine) -> dict[str, tuple[str, str, str]]:
    found = engine.health()["problems"]
    assert all(one["text"] and one["advice"] for one in found)
    return {one["ref"]: (one["severity"], one["text"], one["advice"]) for one in found}


def test_all_is_well(engine: Engine) -> None:
    found = engine.health()
    assert (found["state"], found["problems"]) == ("ok", [])
    assert found["guests"] == {"running": 1, "stopped": 0, "trouble": []}
    assert found["snapshots"] == [{"guest": "web", "newest": None}]
    assert found["memory"]["total"] > found["memory"]["free"] > 0
    assert found["memory"]["guests"] > 0
    assert (found["time"]["synchronised"], found["time"]["offset"]) == (True, pytest.approx(180e-6))
    assert [(one["name"], one["up"]) for one in found["uplinks"]] == [("eth0", True), ("eth1", True)]
    assert [(one["name"], one["health"]) for one in found["pools"]] == [(str(GUESTS.parent), "ONLINE")]
    assert found["machine_age"] is not None


def test_a_snapshot_and_an_operation_are_seen(engine: Engine) -> None:
    engine.wait(engine.guest_action("web", "snapshot", {"snapshot": "first"}).id, 60)
    found = engine.health()
    assert found["snapshots"] == [{"guest": "web", "newest": 1000.0}]
    assert found["operations"] == [], "they have ended"


def test_disks_pools_and_nics_are_told_as_the_machine_has_them(machine: Machine, engine: Engine) -> None:
    bad = SmartReading(health="failed", bad=3, worn=-1, temperature=41)
    machine.host.inventory = {
        "drives": (DriveReading(name="ada0", model="Disk", size=1 << 40, smart=bad), DriveReading(name="ada1")),
        "pools": (PoolReading(name="tank", health="DEGRADED", problem="a disk is gone", size=9, allocated=3),),
        "nics": (NicReading(name="eth0", speed="1000 Mbit/s", description="card"),),
        "reboot": "a kernel waits",
    }
    found, said = engine.health(), problems(engine)
    assert found["state"] == "error"
    assert said["disk/ada0"][0] == said["pool/tank"][0] == "error"
    assert "zpool status -x tank" in said["pool/tank"][2]
    assert (said["host"][0], "a kernel waits" in said["host"][1]) == ("warning", True)
    failed, unasked = found["disks"]
    assert (failed["health"], failed["bad"], failed["worn"], failed["temperature"]) == ("failed", 3, None, 41)
    assert (unasked["health"], unasked["reason"]) == ("unknown", "it was not asked")
    assert found["uplinks"][0]["speed"] == "1000 Mbit/s"
    assert found["pools"][-1]["problem"] == "a disk is gone"


def test_a_guest_that_crashed_is_in_trouble(machine: Machine, engine: Engine) -> None:
    machine.host.crash("web", "triple-fault")
    found = engine.health()
    assert found["guests"] == {
        "running": 0,
        "stopped": 1,
        "trouble": [{"name": "web", "state": "crashed", "text": ""}],
    }
    severity, text, advice = problems(engine)["guest/web"]
    assert (severity, text) == ("error", "guest web crashed (triple-fault)")
    assert "skep guest log web" in advice


def test_a_definition_that_cannot_be_read_is_told(machine: Machine) -> None:
    path = GUESTS / "old" / "definition" / "guest.toml"
    machine.files.write(path, b"nonsense = 1\n")
    with contextlib.closing(Life(machine).engine()) as running:
        severity, text, _ = problems(running)["guest/old"]
        assert (severity, "nonsense" in text) == ("error", True)
        assert running.health()["guests"]["trouble"][0]["name"] == "old"


@pytest.mark.parametrize(
    ("reading", "ref", "severity", "words"),
    [
        ({"clock": ClockReading(synchronised="no")}, "host", "warning", "its offset is not known"),
        ({"clock": ClockReading(synchronised="yes", offset=-2_500_000)}, "host", "warning", "-2.5 s off"),
        ({"memory": 1000 << 20, "free": 20 << 20, "arc": 10 << 20}, "host", "warning", "30 of 1000 MiB"),
    ],
)
def test_what_the_host_uses_may_be_trouble(reading: dict[str, Any], ref: str, severity: str, words: str) -> None:
    (found,) = trouble.of_usage(UsageReading(host=HostUsage(**reading)))
    assert (found.ref, found.severity) == (ref, severity)
    assert words in found.text


def test_what_is_not_known_or_well_is_no_trouble() -> None:
    known = HostUsage(memory=100, free=1, arc=20, clock=ClockReading(synchronised="yes", offset=900_000))
    links = (UplinkUsage(name="a", carrier="up"), UplinkUsage(name="b"))
    assert list(trouble.of_usage(UsageReading(host=known, uplinks=links))) == []
    assert list(trouble.of_usage(UsageReading())) == []


def test_uplinks_without_carrier_or_card() -> None:
    links = (UplinkUsage(name="a", carrier="down"), UplinkUsage(name="b", there=False))
    found = list(trouble.of_usage(UsageReading(uplinks=links)))
    assert [(one.ref, one.severity) for one in found] == [("uplink/a", "error"), ("uplink/b", "error")]


def test_a_slow_reading_is_read_once_and_renewed_beside_who_asks() -> None:
    now, gate, read = [0.0], threading.Event(), [0]

    def look() -> int:
        gate.wait(60)
        read[0] += 1
        return read[0]

    slow = Slow(look, 600.0, lambda: now[0])
    assert slow.get(0.0) == (None, None, "")
    gate.set()
    assert slow.get(60.0) == (1, 0.0, "")
    now[0] = 599.0
    assert slow.get(0.0) == (1, 599.0, "")
    gate.clear()
    now[0] = 601.0
    assert slow.get(0.0) == (1, 601.0, ""), "the old one, while it is read anew"
    gate.set()
    while slow.get(0.0).value != 2:
        pass
    assert slow.get(0.0).age == 0.0


def test_a_slow_reading_that_fails_says_why_and_is_tried_again() -> None:
    now, answers = [0.0], [HostError("failed", "no smartctl"), HostError("failed", "still not")]

    def look() -> int:
        if answers:
            raise answers.pop(0)
        return 7

    slow = Slow(look, 600.0, lambda: now[0])
    found = slow.get(60.0)
    assert (found.value, found.age, found.trouble) == (None, None, "no smartctl")
    now[0] = 1200.0
    assert slow.get(60.0).trouble == "still not"
    now[0] = 2400.0
    assert slow.get(60.0) == (7, 0.0, "")
