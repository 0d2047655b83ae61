"""Memory at rest: skepd and skep-helper with 100 guests defined, the guard of a guest that runs.

    uv run python bench/bench_memory.py [--guests 100]

Real processes on the real host: the guests have folders, disks and taps, and all but one are off. Resident memory is
VmRSS after a pass over everything and a list of the guests; a guard's private memory is what would be freed if it
ended (Private_* of smaps_rollup). The peer is a Python that has done nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from _lab import Lab, lab
from _report import report
from skep.client import path

MB = 1 << 20
SKEPD, HELPER, GUARD = 90, 25, 5
"""Limits in MB."""


def resident(pid: int) -> float:
    """VmRSS in MB."""
    return _kilobytes(f"/proc/{pid}/status", "VmRSS") * 1024 / MB


def private(pid: int) -> float:
    """Private memory in MB."""
    return _kilobytes(f"/proc/{pid}/smaps_rollup", r"Private_\w+") * 1024 / MB


def _kilobytes(file: str, key: str) -> int:
    return sum(int(number) for number in re.findall(rf"^{key}:\s+(\d+) kB", Path(file).read_text(), re.MULTILINE))


def bare_python() -> tuple[float, float]:
    """Resident and private memory of a Python that waits for its standard input to end."""
    argv = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = resident(process.pid), private(process.pid)
        process.communicate()
    return found


def guard_of(lab: Lab, guest: str) -> int:
    return int(json.loads((lab.policy.run / "guests" / guest / "state.json").read_text())["guard"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guests", type=int, default=100)
    count = parser.parse_args().guests
    with lab() as made:
        made.apply(made.guest(0), *(made.guest(number, power="off") for number in range(1, count)))
        listed = made.client.request("GET", path("guests")).json()
        assert len(listed) == count, f"{len(listed)} guests instead of {count}"
        skepd, helper = resident(made.skepd.pid), resident(made.helper.pid)
        guard = private(guard_of(made, made.guest_name(0)))
    bare, bare_private = bare_python()
    print(f"a Python that does nothing: resident {bare:.1f} MB, private {bare_private:.1f} MB")
    peer = "a Python that does nothing"
    report(f"skepd, resident, {count} guests defined", skepd, SKEPD, "MB", f"{peer}: {bare:.1f} MB")
    report(f"helper, resident, {count} guests defined", helper, HELPER, "MB", f"{peer}: {bare:.1f} MB")
    report("guard of a running guest, private", guard, GUARD, "MB", f"{peer}: {bare_private:.1f} MB")


if __name__ == "__main__":
    main()
