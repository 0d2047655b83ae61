"""100,000 guests are made, run and deleted on the simulated host: memory, descriptors and objects stay flat."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

from crash_scenarios import HOST, NETWORKS
from engine_world import GIB, Life, Machine, define, finished, state_of
from skepd.engine.engine import Engine
from skepd.model.names import Kind, Manager, Ref

LIFECYCLES = int(os.environ.get("SKEP_SOAK_LIFECYCLES", "100000"))
SAMPLE = max(1, LIFECYCLES // 20)
MEMORY_MIB = 8
"""How much more a long run may use than a short one: what the allocator does, not what is kept."""


def test_lifecycles() -> None:
    machine = Machine()
    engine = Endless(machine).engine(parallel=2)
    engine.recover()
    assert finished(engine, engine.apply_site(HOST + NETWORKS, "site.toml")).state == "done"
    before, samples = state_of(machine), []
    for number in range(LIFECYCLES):
        _lifecycle(engine, f"guest{number}")
        if number % SAMPLE == SAMPLE - 1:
            samples.append(_sample())
            print(number + 1, samples[-1])
    assert state_of(machine) == before
    engine.close()
    # The first samples are of an index that still fills up to what it keeps.
    settled, last = samples[len(samples) // 4], samples[-1]
    assert last["descriptors"] <= settled["descriptors"]
    assert last["threads"] <= settled["threads"]
    assert last["objects"] <= settled["objects"] * 1.02
    assert last["memory"] <= settled["memory"] + MEMORY_MIB


class Endless(Life):
    """A life that does not write down what it does."""

    def tick(self, label: str) -> None: ...


def _lifecycle(engine: Engine, name: str) -> None:
    port = define("port", f'name = "{name}.0"\nnetwork = "lan"\nfilters = ["web"]\n')
    text = f'name = "{name}"\nmemory = "64M"\n[[disk]]\nname = "system"\nimage = "small"\n[[nic]]\nport = "{name}.0"\n'
    _done(engine, engine.put(port, manager=Manager.USER).id)
    _done(engine, engine.put(define("guest", text), manager=Manager.USER).id)
    _done(engine, engine.guest_action(name, "snapshot", {"snapshot": "a"}).id)
    _done(engine, engine.guest_action(name, "grow", {"disk": "system", "size": 2 * GIB}).id)
    _done(engine, engine.delete(Ref(Kind.GUEST, name), manager=Manager.USER).id)
    _done(engine, engine.delete(Ref(Kind.PORT, f"{name}.0"), manager=Manager.USER).id)


def _done(engine: Engine, identity: str) -> None:
    ended = engine.wait(identity, 60.0)
    assert ended.state == "done", ended


def _sample() -> dict[str, float]:
    gc.collect()
    fields = Path("/proc/self/statm").read_text().split()
    return {
        "memory": int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "objects": len(gc.get_objects()),
    }
