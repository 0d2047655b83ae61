"""What is used: rates from readings, rings of a fixed size, samples of a simulated host."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from engine_world import Life, Machine
from skep_helper.vocabulary import GuestUsage, HostUsage, PortUsage, UplinkUsage, UsageReading
from skepd.engine.contract import Event, Unknown
from skepd.engine.engine import Engine
from skepd.engine.history import POINTS, history
from skepd.engine.rates import GUEST_SERIES, rates
from skepd.engine.rings import COARSE, FINE, NOTHING, SIZE, FileShelf, MemoryShelf, Rings, Shelf
from skepd.model.names import Kind, Manager, Ref
from skepd.model.objects import Disk, Guest, Network, Nic, Port
from skepd.platform.sim import SimHost

DAY = 86_400
NOON = 1_800_000_000
MEGABYTE = 1_000_000


def reading(cpu: int = 0, moved: int = 0, **guest: Any) -> UsageReading:
    return UsageReading(
        host=HostUsage(cpus=4, cpu=cpu, memory=1000, free=300, arc=200),
        guests=(GuestUsage(**{"name": "web", "cpu": cpu, "memory": 50, "disk_read": moved, **guest}),),
        ports=(PortUsage(name="web.0", received=moved, sent=2 * moved), PortUsage(name="web.1", received=moved)),
        uplinks=(UplinkUsage(name="em0", received=moved, sent=0), UplinkUsage(name="em1", there=False)),
    )


def test_rates_are_what_counters_rose_by() -> None:
    ports = {"web.0": "web", "web.1": "web", "other.0": "other"}
    found = rates(reading(1_000_000, 100), reading(4_000_000, 250, disk_written=30), 15.0, ports)
    assert found.guests["web"] == {
        "cpu": 0.2, "memory": 50.0, "disk_read": 10.0, "disk_write": 2.0, "net_in": 20.0, "net_out": 20.0,
    }  # fmt: skip
    assert found.host == {
        "cpu": 0.2, "memory_used": 500.0, "memory_guests": 50.0, "arc": 200.0, "net_in": 10.0, "net_out": 0.0,
    }  # fmt: skip


def test_of_what_began_anew_no_rate_is_known() -> None:
    for before in (None, UsageReading(), reading(9_000_000, 900)):
        values = rates(before, reading(1_000_000, 100), 15.0, {"web.0": "web"}).guests["web"]
        assert values["memory"] == 50.0
        assert values["cpu"] is values["disk_read"] is values["net_in"] is None
    assert rates(reading(), reading(), 0.0, {}).guests["web"]["cpu"] is None
    assert rates(reading(), reading(), 15.0, {}).guests["web"]["net_in"] == 0.0, "no port is its own"


@pytest.fixture(params=["files", "memory"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    return FileShelf(tmp_path) if request.param == "files" else MemoryShelf()


def test_a_ring_holds_a_day_and_thirty_days_in_less_than_a_megabyte(tmp_path: Path) -> None:
    rings, begin = Rings(FileShelf(tmp_path)), NOON - 31 * DAY
    for step in range(0, 31 * DAY, 300):
        rings.add("web", begin + step, [float(step)] * 6)
    for step in range(0, 2 * DAY, 15):
        rings.add("web", NOON + step, [1.0] * 6)
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size == SIZE < MEGABYTE
    assert path.stat().st_blocks * 512 < MEGABYTE
    now = NOON + 2 * DAY - 1
    for level in (FINE, COARSE):
        last = now // level.step
        assert NOTHING not in rings.rows("web", level, last - level.records + 1, last)
        before = rings.rows("web", level, last - level.records, last - level.records)
        assert all(math.isnan(value) for value in before[0]), "it was overwritten by the newest"


def test_samples_survive_a_restart_and_gaps_are_gaps(shelf: Shelf) -> None:
    Rings(shelf).add("web", NOON, [0.5, None, 0, 0, 0, 0])
    again = Rings(shelf)
    again.add("web", NOON + 45, [1.5, 7.0, 0, 0, 0, 0])
    found = history(again, "web", GUEST_SERIES, NOON + 59, 60)
    assert (found["start"], found["step"]) == (NOON, 15)
    assert found["series"]["cpu"] == [0.5, None, None, 1.5]
    assert found["series"]["memory"] == [None, None, None, 7.0]
    assert history(again, "other", GUEST_SERIES, NOON, 60)["series"]["cpu"] == [None] * 4
    five_minutes = history(again, "web", GUEST_SERIES, NOON, DAY + 300)["series"]
    known = [value for value in five_minutes["cpu"] if value is not None]
    assert (known, [value for value in five_minutes["memory"] if value is not None]) == ([1.0], [7.0])


def test_a_span_is_told_in_as_many_steps_as_a_graph_shows(shelf: Shelf) -> None:
    rings = Rings(shelf)
    for step in range(0, 3600, 15):
        rings.add("web", NOON - 3600 + step, [2.0, 4.0, 0, 0, 0, 0])
    for span, step in ((900, 15), (3600, 15), (DAY, 120), (7 * DAY, 900), (30 * DAY, 3600)):
        found = history(rings, "web", GUEST_SERIES, NOON - 1, span)
        values = found["series"]["cpu"]
        assert found["step"] == step
        assert len(values) <= POINTS + 1
        assert found["start"] <= NOON - span < NOON <= found["start"] + len(values) * step
        assert {value for value in values if value is not None} == {2.0}
        assert sum(value is not None for value in values) >= min(span, 3600) // step


def test_rings_of_others_go(shelf: Shelf) -> None:
    rings = Rings(shelf)
    for name in ("host", "guest.a", "guest.b"):
        rings.add(name, NOON, [1.0] * 6)
    rings.keep({"host", "guest.a"})
    rings.remove("guest.a")
    rings.remove("guest.none")
    assert shelf.names() == ["host"]


def test_a_file_of_something_else_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "web.ring").write_bytes(b"x" * 5_000_000)
    rings = Rings(FileShelf(tmp_path))
    assert set(rings.rows("web", FINE, 0, 10)) == {NOTHING}
    rings.add("web", NOON, [1.0] * 6)
    assert (tmp_path / "web.ring").stat().st_size == SIZE
    assert history(rings, "web", GUEST_SERIES, NOON, 60)["series"]["cpu"][-1] == 1.0


def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    rings = Rings(FileShelf(tmp_path / "missing"))
    rings.add("web", NOON, [1.0] * 6)
    rings.keep(set())
    assert rings.rows("web", FINE, 0, 0) == [NOTHING]


class Clock:
    def __init__(self) -> None:
        self.now = float(NOON)

    def __call__(self) -> float:
        return self.now


@contextlib.contextmanager
def engine(machine: Machine, clock: Clock, **settings: Any) -> Iterator[Engine]:
    running = Life(machine).engine(clock=clock, **settings)
    running._sampler._monotonic = clock
    running.recover()
    with contextlib.closing(running):
        yield running


def machine(clock: Clock) -> Machine:
    return Machine(SimHost(uplinks=("eth0", "eth1"), clock=clock))


def define(running: Engine, *values: Any) -> None:
    for value in values:
        ended = running.wait(running.put(value, manager=Manager.USER).id, 60)
        assert ended.state == "done", ended.error


WEB = Guest(name="web", disks=(Disk(name="root", size=1 << 30),), nics=(Nic(port="web.0"),))
OBJECTS = (Network(name="lan"), replace(WEB, nics=(), power="off"), Port(name="web.0", network="lan", guest="web"), WEB)


def test_samples_are_told_and_kept_and_go_with_their_guest(tmp_path: Path) -> None:
    clock, told = Clock(), list[Event]()
    host = machine(clock)
    with engine(host, clock, metrics=tmp_path) as running:
        define(running, *OBJECTS)
        running.listen(told.append)
        numbers = [event.number for event in running.events(0, 0.0)]
        for _ in range(4):
            running._sampler.take()
            clock.now += 15
        assert [event.number for event in running.events(0, 0.0)] == numbers, "samples are no history"
        assert [(event.number, event.kind, event.ref) for event in told] == [(0, "metrics", "host")] * 4
        assert set(told[-1].data["guests"]) == {"web"}
        assert told[0].data["guests"]["web"]["cpu"] is None
        last = told[-1].data["guests"]["web"]
        assert all(last[key] >= 0 for key in GUEST_SERIES)
        assert last["net_in"] > 0
    with engine(host, clock, metrics=tmp_path) as running:
        found = running.metrics("web", 60)["series"]
        assert found["cpu"][-2] == pytest.approx(last["cpu"], abs=1e-3)
        assert found["cpu"][-1] is None, "skepd was not there"
        assert running.metrics(None, 60)["series"]["memory_guests"][-2] > 0
        running.wait(running.delete(Ref(Kind.GUEST, "web"), manager=Manager.USER).id, 60)
        assert [path.name for path in tmp_path.iterdir()] == ["host.ring"]
        with pytest.raises(Unknown, match="no guest 'web'"):
            running.metrics("web", 60)
        running._sampler.take()
        assert [path.name for path in tmp_path.iterdir()] == ["host.ring"]


def test_what_the_simulated_host_uses_moves_and_never_falls() -> None:
    clock = Clock()
    host = machine(clock)
    with engine(host, clock) as running:
        define(running, *OBJECTS)
        readings = []
        for _ in range(50):
            readings.append(running._sampler.usage(0.0))
            clock.now += 15
    guests = [one.guests[0] for one in readings]
    for key in ("cpu", "disk_read", "disk_written"):
        values = [getattr(guest, key) for guest in guests]
        assert values == sorted(values)
        assert values[-1] > values[0]
    assert len({guest.memory for guest in guests}) > 10
    assert all(0 < guest.memory <= 512 << 20 for guest in guests)
