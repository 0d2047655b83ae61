"""CPU of a pass that changes nothing, on the simulated host: 1,000 guests within 100 ms, 10,000 within 12 times that.

The peer is the same planner without its cache (what every pass would cost if nothing were remembered).
"""

from __future__ import annotations

import argparse
import gc
import time

from skepd.model.desired import Desired
from skepd.model.facts import HostFacts
from skepd.model.objects import Disk, Filter, Guest, Image, Network, Nic, Port, Rule, Subnet
from skepd.plan import Cache, Observed, plan, settle
from skepd.plan.observed import READINGS
from skepd.platform.sim import SimHost

GIB = 1 << 30
PER_NETWORK = 50


def site(count: int) -> Desired:
    """Guests with two disks and a filtered port each, fifty in a network."""
    networks = {
        f"net{i}": Network(name=f"net{i}", kind="nat", subnets=(Subnet(prefix=f"10.{i // 256}.{i % 256}.0/24"),))
        for i in range(-(-count // PER_NETWORK))
    }
    web = Filter(name="web", rules=(Rule(direction="in", protocol="tcp", ports="80"), Rule(direction="out")))
    peers = Filter(name="peers", rules=(Rule(direction="in", protocol="tcp", group="peers"),))
    ports, guests = {}, {}
    for i in range(count):
        net, name = i // PER_NETWORK, f"guest{i}"
        address = f"10.{net // 256}.{net % 256}.{10 + i % PER_NETWORK}"
        port = Port(name=f"{name}.0", network=f"net{net}", guest=name, addresses=(address,), filters=("web", "peers"))
        disks = (Disk(name="system", image="small"), Disk(name="data", size=10 * GIB))
        ports[port.name] = port
        guests[name] = Guest(name=name, disks=disks, nics=(Nic(port=port.name),), memory=GIB // 4)
    images = {"small": Image(name="small", version="1", sources=("http://127.0.0.1/",))}
    return Desired(images=images, filters={"web": web, "peers": peers}, networks=networks, ports=ports, guests=guests)


def brought_up(count: int) -> tuple[Desired, Observed, HostFacts]:
    host = SimHost(memory=count * GIB, storage=1 << 60)
    host.add_image("small", "1", GIB)
    after = settle(Desired(), site(count))
    first = plan(Desired(), after, Observed.of(host.perform(READINGS)), host.facts(), render=repr)
    for step in first.steps:
        host.perform(step.requests)
    return after, Observed.of(host.perform(READINGS)), host.facts()


def cpu(before: Desired, observed: Observed, facts: HostFacts, cache: Cache | None, rounds: int) -> float:
    """The least CPU seconds of a pass; each reads the host anew, so no table over the reading is kept."""
    best = float("inf")
    for _ in range(rounds):
        fresh = Observed(storage=observed.storage, networks=observed.networks, guests=observed.guests)
        gc.collect()
        start = time.process_time()
        made = plan(before, before, fresh, facts, render=repr, cache=cache)
        best = min(best, time.process_time() - start)
        if made.steps or made.notes:
            raise SystemExit(f"the pass changes something: {made}")
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=(1000, 10_000))
    sizes = parser.parse_args().sizes
    times = []
    for count in sizes:
        before, observed, facts = brought_up(count)
        cache = Cache()
        plan(before, before, observed, facts, render=repr, cache=cache)
        times.append(cpu(before, observed, facts, cache, 5))
        cold = cpu(before, observed, facts, None, 1)
        print(f"plan, no-op, {count} guests: {times[-1] * 1000:.1f} ms CPU ({times[-1] / cold:.3f} x without cache)")
    print(f"plan, no-op, {sizes[1]} / {sizes[0]} guests: {times[1] / times[0]:.1f} x")


if __name__ == "__main__":
    main()
