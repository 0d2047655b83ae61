"""The engine on the simulated host: CPU of a pass that changes nothing, and memory with 100 guests.

A pass is what the watch does every half minute: read the host, plan from the definitions as they are. Limits: 100 ms
CPU at 1,000 guests, 12 times that at 10,000. The peer in the same run is the same pass without what the engine
remembers (a new cache). Reading the simulated host is part of both; on a real host that is the helper's work.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _report import report
from bench_plan import GIB, site
from skepd.engine.engine import Engine, Settings
from skepd.model.definitions import render_object
from skepd.model.desired import Desired, ref_of
from skepd.plan import Observed, PlanOptions, plan, settle
from skepd.plan.cache import Cache
from skepd.plan.observed import READINGS
from skepd.platform.sim import SimHost
from skepd.platform.sim.files import SimFiles

STATE, GUESTS = Path("/state"), Path("/pool/guests")
LIMIT_MS, LIMIT_RATIO, LIMIT_MIB = 100, 12.0, 90


def no_pull(*_: Any, **__: Any) -> None:
    raise SystemExit("nothing is to be pulled here")


def brought_up(count: int) -> Engine:
    """An engine whose definitions are all carried out. They are written as files and read by it, as after a restart."""
    host, files = SimHost(memory=count * GIB, storage=1 << 60), SimFiles()
    host.add_image("small", "1", GIB)
    desired = settle(Desired(), site(count))
    for value in desired:
        ref = ref_of(value)
        folder = GUESTS / ref.name / "definition" if ref.kind == "guest" else STATE / f"{ref.kind}s"
        name = "guest.toml" if ref.kind == "guest" else f"{ref.name}.toml"
        files.write(folder / name, render_object(value).encode())
    first = plan(Desired(), desired, Observed.of(host.perform(READINGS)), host.facts(), PlanOptions(), render=repr)
    for step in first.steps:
        host.perform(step.requests)
    settings = Settings(
        files=files,
        state=STATE,
        pool_guests=GUESTS,
        connect=lambda: host,
        read_facts=lambda hello: host.facts(),
        pull=no_pull,
        version="bench",
    )
    return Engine(settings)


def cpu(engine: Engine, rounds: int, remember: bool = True) -> float:
    """The least CPU seconds of a pass."""
    best = float("inf")
    for _ in range(rounds):
        if not remember:
            engine._cache = Cache()
        gc.collect()
        start = time.process_time()
        made = engine._repair_plan().plan
        best = min(best, time.process_time() - start)
        if made.steps or made.notes:
            raise SystemExit(f"the pass changes something: {made.steps[:3]} {made.notes[:3]}")
    return best


def memory(count: int) -> tuple[int, int]:
    """Resident MiB of a process with an engine of `count` guests that made a pass, and of the same with none."""
    sizes = []
    for guests in (count, 0):
        argv = [sys.executable, __file__, "--resident", str(guests)]
        sizes.append(int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout))
    return sizes[0], sizes[1]


def resident(count: int) -> int:
    if count:
        brought_up(count)._repair_plan()
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if sys.platform == "linux" else 0
    used = pages * os.sysconf("SC_PAGE_SIZE") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return used >> 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=(1000, 10_000))
    parser.add_argument("--resident", type=int, help="print the resident MiB of an engine with so many guests")
    options = parser.parse_args()
    if options.resident is not None:
        print(resident(options.resident))
        return
    times = []
    for count in options.sizes:
        engine = brought_up(count)
        engine._repair_plan()
        times.append(cpu(engine, 5))
        cold = cpu(engine, 1, remember=False)
        share = f"{times[-1] / cold:.3f} x the pass that remembers nothing"
        print(f"engine, no-op pass, {count} guests: {times[-1] * 1000:.1f} ms CPU ({share})")
        engine.close()
    few, many = options.sizes
    report(f"engine, no-op pass, {few} guests, CPU", times[0] * 1000, LIMIT_MS, "ms", "the pass that remembers nothing")
    report(f"engine, no-op pass, {many} / {few} guests, CPU", times[1] / times[0], LIMIT_RATIO, "x", f"{few} guests")
    used, bare = memory(100)
    report("engine alone, resident, 100 guests", used, LIMIT_MIB, "MB", f"without any guest: {bare} MB")


if __name__ == "__main__":
    main()
