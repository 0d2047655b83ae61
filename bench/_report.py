"""What every benchmark shares: a figure with its limit, shown as a line and left for the table of `run.py`.

A benchmark is not a test: it says what it found and exits with 0, also when a limit is missed.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

FILE = "SKEP_BENCH_REPORT"
"""The environment variable that names the file to which figures are appended, one JSON object a line."""


@dataclass(frozen=True)
class Figure:
    """measured and limit in the same unit ("x": a ratio to the peer). peer: what was measured beside it, in words."""

    name: str
    measured: float
    limit: float
    unit: str
    peer: str = ""

    @property
    def ratio(self) -> float:
        """Of the limit: at most 1 is fine. A limit of nothing is met by nothing alone."""
        if self.limit:
            return self.measured / self.limit
        return 1.0 if self.measured == 0 else float("inf")

    @property
    def verdict(self) -> str:
        return "ok" if self.ratio <= 1 else "over"


def report(name: str, measured: float, limit: float, unit: str = "x", peer: str = "") -> None:
    """Show a figure, and leave it for the table when run.py runs this."""
    figure = Figure(name, measured, limit, unit, peer)
    print(f"{name}: {shown(measured, unit)} (limit {shown(limit, unit)}: {figure.verdict})")
    if path := os.environ.get(FILE):
        with open(path, "a") as stream:
            stream.write(json.dumps(asdict(figure)) + "\n")


def shown(value: float, unit: str) -> str:
    return f"{value:.0f}" if unit == "processes" else f"{value:.2f} {unit}" if unit == "x" else f"{value:.1f} {unit}"


def alternate(works: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median seconds of each work. All take turns, so that all meet the same machine; a work times itself, because
    what it prepares and clears away is not to be counted."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(work())
    return {name: statistics.median(values) for name, values in times.items()}


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
