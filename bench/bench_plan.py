"""CPU of a pass that changes nothing, on the simulated host: 1,000 guests within 100 ms, 10,000 within 12 times that.

A pass reads the host and plans. The peer is the same pass without the planner's cache (what it would cost if nothing
were remembered from one to the next).
"""

from __future__ import annotations

import argparse
import gc
import time

from _report import report
from skepd.model.desired import Desired
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


def brought_up(count: int) -> tuple[Desired, SimHost]:
    host = SimHost(memory=count * GIB, storage=1 << 60)
    host.add_image("small", "1", GIB)
    after = settle(Desired(), site(count))
    first = plan(Desired(), after, Observed.of(host.perform(READINGS)), host.facts(), render=repr)
    for step in first.steps:
        host.perform(step.requests)
    return after, host


def cpu(before: Desired, host: SimHost, cache: Cache | None, rounds: int) -> tuple[float, float]:
    """CPU seconds of reading and of planning, of the pass that took least of them all."""
    found = []
    for _ in range(rounds):
        gc.collect()
        start = time.process_time()
        observed = Observed.of(host.perform(READINGS))
        read = time.process_time()
        made = plan(before, before, observed, host.facts(), render=repr, cache=cache)
        end = time.process_time()
        found.append((read - start, end - read))
        if made.steps or made.notes:
            raise SystemExit(f"the pass changes something: {made}")
    return min(found, key=sum)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=(1000, 10_000))
    sizes = parser.parse_args().sizes
    passes = []
    for count in sizes:
        before, host = brought_up(count)
        cache = Cache()
        cpu(before, host, cache, 1)
        read, planned = cpu(before, host, cache, 5)
        peer = sum(cpu(before, host, None, 1))
        passes.append(read + planned)
        print(
            f"no-op pass, {count} guests: {passes[-1] * 1000:.1f} ms CPU "
            f"(reading {read * 1000:.1f}, planning {planned * 1000:.1f}; {passes[-1] / peer:.2f} x without cache)"
        )
    report(f"no-op pass, {sizes[0]} guests, CPU", passes[0] * 1000, 100, "ms", "the same pass without cache")
    report(f"no-op pass, {sizes[1]} / {sizes[0]} guests, CPU", passes[1] / passes[0], 12, "x", f"{sizes[0]} guests")


if __name__ == "__main__":
    main()
