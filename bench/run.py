"""Runs every benchmark and prints one table: what was measured, its limit, the ratio of the two, ok or over.

    uv run python bench/run.py [NAME ...]

NAME: a benchmark without "bench_" and ".py" (start, memory, ...); all of them when none is given. Exits with 0 also
when a limit is missed, and with 1 when a benchmark could not be run.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from _report import FILE, Figure, shown

HERE = Path(__file__).resolve().parent
HEADS = ("name", "measured", "limit", "ratio", "", "beside")


def run(script: Path, figures: Path) -> bool:
    print(f"== {script.stem}", flush=True)
    environment = {**os.environ, FILE: str(figures), "PYTHONUNBUFFERED": "1"}
    return subprocess.run([sys.executable, str(script)], env=environment, check=False).returncode == 0


def table(figures: list[Figure]) -> str:
    """The first columns wide enough for what is in them; numbers to the right."""
    rows = [HEADS] + [
        (one.name, shown(one.measured, one.unit), shown(one.limit, one.unit), f"{one.ratio:.2f}", one.verdict, one.peer)
        for one in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    return "\n".join(
        "  ".join(cell.rjust(width) if 1 <= column <= 3 else cell.ljust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    )  # fmt: skip


def machine() -> str:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    load = os.getloadavg()[0]
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} CPUs, {memory} GiB of memory, {system}, load {load:.1f} at the start"


def main() -> int:
    names = sys.argv[1:]
    scripts = [HERE / f"bench_{name}.py" for name in names] if names else sorted(HERE.glob("bench_*.py"))
    where = machine()
    with tempfile.NamedTemporaryFile("r", prefix="skep-bench-", suffix=".json") as stream:
        failed = [script.stem for script in scripts if not run(script, Path(stream.name))]
        figures = [Figure(**json.loads(line)) for line in stream]
    print(f"\n{where}\n\n{table(figures)}")
    if failed:
        print(f"\ncould not be run: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
