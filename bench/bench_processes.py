"""Processes that a pass which changes nothing starts, with 5 and with 50 guests on the real host: the same number.

    uv run python bench/bench_processes.py [--guests 5 50]

A pass is what skepd does by itself every half minute: read the host through the helper, and plan. The guests have
folders, linked clones and taps; two of them run. strace watches skepd, the helper and the spawner of guards, and
counts every new process and every program executed (threads are no processes).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import time
from pathlib import Path

from _lab import SAFETY, Lab, lab
from _report import report
from skep.client import path

RUNNING = 2
PASSES = 3
_CALL = re.compile(r"\b(fork|vfork|clone|clone3|execve|execveat)\((.*)")


def started(trace: str) -> int:
    """New processes and executed programs in strace's output."""
    calls = [match for line in trace.splitlines() if (match := _CALL.search(line))]
    return sum(1 for call in calls if "CLONE_THREAD" not in call[2])


class Watch:
    """strace on processes that run already, with all they start."""

    def __init__(self, pids: list[int], output: Path) -> None:
        self.output = output
        attached = [word for pid in pids for word in ("-p", str(pid))]
        argv = [
            "strace",
            "-f",
            "-q",
            "-e",
            "trace=fork,vfork,clone,clone3,execve,execveat",
            "-o",
            str(output),
            *attached,
        ]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + SAFETY
        while not all(_traced(pid) for pid in pids):
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit("strace cannot watch; is it installed and allowed?")
            time.sleep(0.05)

    def count(self) -> int:
        self.process.terminate()
        self.process.wait(SAFETY)
        return started(self.output.read_text())


def _traced(pid: int) -> bool:
    """Whether every thread of a process has a tracer."""
    statuses = Path(f"/proc/{pid}/task").glob("*/status")
    return all("TracerPid:\t0\n" not in status.read_text() for status in statuses)


def guests(lab: Lab, count: int) -> list[str]:
    return [lab.guest(number, power="on" if number < RUNNING else "off") for number in range(count)]


def measure(lab: Lab, count: int) -> tuple[int, int]:
    """Processes that no-op passes start, and that one guest more starts (the control: strace does see processes)."""
    site = lab.site(*guests(lab, count))
    lab.apply(*guests(lab, count))
    pids = [lab.helper.pid, lab.skepd.pid, *children(lab.helper.pid)]
    watch = Watch(pids, lab.base / "trace")
    for _ in range(PASSES):
        plan = lab.client.request("POST", path("plan"), {"text": site, "file": "bench.toml"}).json()
        assert not plan["steps"], f"the pass changes something: {plan['steps']}"
    passes = watch.count()
    watch = Watch(pids, lab.base / "trace")
    lab.apply(*guests(lab, count), lab.guest(count, power="off"))
    control = watch.count()
    return passes, control


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guests", type=int, nargs=2, default=(5, 50))
    few, many = parser.parse_args().guests
    with lab() as made:
        found = {count: measure(made, count) for count in (few, many)}
    for count, (passes, control) in found.items():
        print(f"{PASSES} passes over {count} guests start {passes} processes (one guest more: {control})")
        if not control:
            raise SystemExit("strace saw no process start when a guest was made: nothing was measured")
    report(
        f"processes of a no-op pass with {many} guests", found[many][0] / PASSES, found[few][0] / PASSES, "processes",
        f"the same pass with {few} guests",
    )  # fmt: skip


if __name__ == "__main__":
    main()
