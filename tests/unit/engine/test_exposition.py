"""What Prometheus reads: parsed by its own parser, with names that are a promise."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parents[2]))
from engine_world import Life, Machine
from skep_helper.vocabulary import ClockReading, DriveReading, PoolReading
from skep_helper.vocabulary.inventory import SmartReading
from skepd.engine.engine import Engine
from skepd.engine.exposition import METRICS, names_table
from skepd.model.names import Manager
from skepd.model.objects import Disk, Guest, Network, Nic, Port

PAGE = Path(__file__).parents[3] / "docs" / "monitoring.md"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def world() -> Iterator[tuple[Machine, Engine]]:
    machine = Machine()
    running = Life(machine).engine(version='1.0 "beta"\\')
    running.recover()
    disks = (Disk(name="root", size=1 << 30),)
    objects = (
        Network(name="lan"),
        Guest(name="web", power="off", disks=disks),
        Port(name="web.0", network="lan", guest="web"),
        Guest(name="web", disks=disks, nics=(Nic(port="web.0"),)),
        Guest(name="off", power="off"),
    )
    with contextlib.closing(running):
        for value in objects:
            assert running.wait(running.put(value, manager=Manager.USER).id, 60).state == "done"
        yield machine, running


def read(engine: Engine) -> tuple[Samples, dict[str, tuple[str, str]]]:
    """Samples by name and labels; kind and help by the name of the family."""
    families = list(text_string_to_metric_families(engine.exposition()))
    samples: Samples = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples, "told twice"
            samples[key] = sample.value
    return samples, {family.name: (family.type, family.documentation) for family in families}


def test_its_own_parser_reads_it_and_every_name_has_kind_and_help(world: tuple[Machine, Engine]) -> None:
    samples, families = read(world[1])
    for metric in METRICS:
        # The parser takes the ending of a counter away.
        found = families[metric.name.removesuffix("_total")]
        assert found == (metric.kind, metric.help)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert re.fullmatch(r"skep_[a-z_]+", metric.name)
    known = {metric.name for metric in METRICS}
    assert {name for name, _ in samples} <= known
    info = (("host", "sim"), ("platform", "sim"), ("version", '1.0 "beta"\\'))
    assert samples["skep_info", info] == 1


def test_guests_are_told_by_name(world: tuple[Machine, Engine]) -> None:
    samples, _ = read(world[1])
    web, off = (("guest", "web"),), (("guest", "off"),)
    assert (samples["skep_guest_running", web], samples["skep_guest_running", off]) == (1, 0)
    assert samples["skep_guest_memory_limit_bytes", off] == 512 << 20
    assert samples["skep_guest_memory_bytes", web] > 0
    assert ("skep_guest_memory_bytes", off) not in samples
    assert samples["skep_guest_cpu_seconds_total", web] >= 0
    assert samples["skep_guest_receive_bytes_total", (("guest", "web"), ("port", "web.0"))] >= 0
    assert samples["skep_guest_disk_size_bytes", (("disk", "root"), ("guest", "web"))] == 1 << 30
    assert ("skep_guest_snapshot_newest_seconds", web) not in samples


def test_trouble_is_told(world: tuple[Machine, Engine]) -> None:
    machine, engine = world
    machine.host.inventory = {
        "pools": (PoolReading(name="tank", health="DEGRADED", size=9, allocated=3),),
        "drives": (
            DriveReading(name="ada0", smart=SmartReading(health="failed", bad=2)),
            DriveReading(name="ada1", smart=SmartReading(health="unknown")),
        ),
    }
    machine.host.usage.time = ClockReading(synchronised="no")
    machine.host.crash("web")
    samples, _ = read(engine)
    assert samples["skep_guest_crashed", (("guest", "web"),)] == 1
    assert samples["skep_pool_healthy", (("pool", "tank"),)] == 0
    assert samples["skep_disk_healthy", (("disk", "ada0"),)] == 0
    assert ("skep_disk_healthy", (("disk", "ada1"),)) not in samples, "it is not known"
    assert samples["skep_host_clock_synchronised", ()] == 0
    assert ("skep_host_clock_offset_seconds", ()) not in samples
    assert samples["skep_problems", (("severity", "error"),)] == 3


def test_the_page_names_them_all() -> None:
    text = PAGE.read_text()
    table = "| name | kind | what |" + text.partition("| name | kind | what |")[2]
    assert table.strip() == names_table(), "docs/monitoring.md: paste what names_table() says"


def test_no_name_is_gone() -> None:
    """Names that were promised; add to them, and take none away."""
    promised = {
        "skep_guest_cpu_seconds_total", "skep_guest_memory_bytes", "skep_guest_disk_read_bytes_total",
        "skep_guest_disk_written_bytes_total", "skep_guest_receive_bytes_total", "skep_guest_transmit_bytes_total",
        "skep_guest_running", "skep_guest_crashed", "skep_guest_snapshot_newest_seconds", "skep_problems",
        "skep_host_cpu_seconds_total", "skep_host_memory_bytes", "skep_host_memory_free_bytes", "skep_host_arc_bytes",
        "skep_pool_healthy", "skep_disk_healthy", "skep_storage_free_bytes", "skep_uplink_up",
        "skep_host_clock_synchronised", "skep_info", "skep_operations",
    }  # fmt: skip
    assert promised <= {metric.name for metric in METRICS}
