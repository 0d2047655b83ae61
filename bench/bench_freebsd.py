"""Networks on a FreeBSD host: 200 of them one after the other, and one rule changed among 200 ports.

    PYTHONPATH=packages/skep-helper python3.11 bench/bench_freebsd.py [--networks 50 100 200] [--ports 200]

Runs on FreeBSD, as root, on a bare Python 3.11; elsewhere it says so and does nothing. It drives the root side's
handlers in this process and counts the tools that they and their children start. What it makes has names of its own
and is removed.

The peer of a rule change is one `pfctl -f` of a ruleset that holds the same rules of all ports: what has to be done
where rules are not kept in an anchor for each port.
"""

from __future__ import annotations

import argparse
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from _report import report, seconds
from skep_helper import run
from skep_helper.freebsd.network import HANDLERS, pf, rules
from skep_helper.freebsd.network.records import Records
from skep_helper.freebsd.network.stacks import jail_of
from skep_helper.freebsd.network.system import System
from skep_helper.handlers import Context
from skep_helper.policy import Policy
from skep_helper.vocabulary import (
    ApplyNetwork,
    ApplyPort,
    FilterRule,
    NetworkSpec,
    PortSpec,
    ReadNetworks,
    RemoveNetwork,
    RemovePort,
)

DIGEST = "0123456789abcdef"
ROUNDS = 5
OUT = FilterRule(direction="out", family="ipv4")


class Count:
    """Tools started by this process and by its children: kept in memory that they share."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 8)
        self._real = run.run
        run.run = self._run

    def _run(self, argv: Sequence[str], *more: Any, **options: Any) -> bytes:
        self._shared[:] = (self.value + 1).to_bytes(8, "little")
        return self._real(argv, *more, **options)

    @property
    def value(self) -> int:
        return int.from_bytes(self._shared[:], "little")

    def of(self, work: Callable[[], object]) -> int:
        before = self.value
        work()
        return self.value - before


class Lab:
    def __init__(self, base: Path) -> None:
        self.policy = Policy(run=base, user="root", group="wheel", interface_prefix=f"b{os.getpid() % 1000:03}")
        self.unique = f"bench{os.getpid()}"

    def do(self, request: Any) -> Any:
        return HANDLERS[type(request)](Context(policy=self.policy, peer_uid=0), request)

    def network(self, number: int) -> None:
        spec = NetworkSpec(name=f"{self.unique}-{number}", digest=DIGEST, kind="isolated")
        self.do(ApplyNetwork(network=spec))

    def port(self, number: int, *allowed: FilterRule) -> PortSpec:
        name = f"{self.unique}-0.n{number}"
        spec = PortSpec(
            name=name, network=f"{self.unique}-0", digest=DIGEST, rules_digest=DIGEST,
            mac=f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}",
            addresses=(f"10.{number >> 8}.{number & 255}.1",), rules=(OUT, *allowed),
        )  # fmt: skip
        self.do(ApplyPort(port=spec))
        return spec

    def clear(self) -> None:
        reading = self.do(ReadNetworks())
        for port in reading.ports:
            self.do(RemovePort(port=port.name, network=port.network))
        for network in reading.networks:
            self.do(RemoveNetwork(network=network.name))


@contextmanager
def lab() -> Iterator[Lab]:
    base = Path(tempfile.mkdtemp(prefix="skep-bench-", dir="/var/tmp"))
    base.chmod(0o755)
    made = Lab(base)
    try:
        yield made
    finally:
        made.clear()
        shutil.rmtree(base)


def allowed(first: int) -> tuple[FilterRule, ...]:
    return tuple(
        FilterRule(direction="in", family=family, protocol="tcp", first=first + port)
        for family in ("ipv4", "ipv6")
        for port in range(5)
    )


def networks(made: Lab, counted: Count, stages: list[int]) -> None:
    """Milliseconds for each network, on the way to each stage."""
    done, spent, each, tools = 0, 0.0, [], 0
    for stage in stages:
        before = counted.value
        took = sum(seconds(lambda n=number: made.network(n)) for number in range(done, stage))  # type: ignore[misc]
        spent, tools = spent + took, (counted.value - before) // (stage - done)
        each.append(took / (stage - done))
        print(f"networks {done + 1} to {stage}: {each[-1] * 1000:.0f} ms and {tools} tools each, {spent:.1f} s in all")
        done = stage
    peer = f"a network of the first {stages[0]}"
    report(f"a network after {stages[-2]} others", each[-1] / each[0], 1.5, peer=peer)
    reading = seconds(lambda: made.do(ReadNetworks()))
    print(f"reading {done} networks: {reading * 1000:.0f} ms, {counted.of(lambda: made.do(ReadNetworks()))} tools")


def rule_change(made: Lab, counted: Count, count: int) -> None:
    """One rule of one port among many, beside all rules loaded at once."""
    made.network(0)
    specs = [made.port(number, *allowed(1000)) for number in range(count)]
    changed = specs[count // 2]
    ours, tools = [], 0
    theirs = []
    for turn in range(ROUNDS):
        changed = replace(changed, rules=(OUT, *allowed(2000 + 10 * turn)))
        before = counted.value
        ours.append(seconds(lambda: made.do(ApplyPort(port=changed))))  # noqa: B023
        tools = counted.value - before
        theirs.append(seconds(lambda: load_all(made, specs)))
    mine, full = sorted(ours)[ROUNDS // 2], sorted(theirs)[ROUNDS // 2]
    print(f"one rule change with {count} ports: {mine * 1000:.0f} ms, {tools} tools; all rules: {full * 1000:.0f} ms")
    report(f"one rule change with {count} ports", mine / full, 1.0, peer="pfctl -f of the rules of all ports")
    report(f"tools that it starts, {count} ports", tools, 2, "processes")


def load_all(made: Lab, specs: list[PortSpec]) -> None:
    """In the network's jail, into an anchor that nothing evaluates."""
    system, records = System(), Records(made.policy)
    record = records.network(specs[0].network)
    assert record is not None
    text = "".join(rules.text(port.interface, port.spec) for port in records.ports(specs[0].network))
    system.enter(jail_of(system, record, "bench"), lambda: system.run(pf.load("bench"), text.encode()) and None)


def main() -> int:
    parser = argparse.ArgumentParser(description="Networks and rules on a FreeBSD host.")
    parser.add_argument("--networks", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--ports", type=int, default=200)
    options = parser.parse_args()
    if not sys.platform.startswith("freebsd"):
        print(f"this benchmark runs on FreeBSD; this is {sys.platform}")
        return 0
    if os.geteuid() != 0:
        print("this benchmark makes jails: run it as root", file=sys.stderr)
        return 77
    counted = Count()
    with lab() as made:
        networks(made, counted, options.networks)
    with lab() as made:
        rule_change(made, counted, options.ports)
    return 0


if __name__ == "__main__":
    sys.exit(main())
