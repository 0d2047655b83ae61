"""Storage on OpenZFS, in test-zfs's guest: ``python tools/test_zfs.py --program bench/bench_zfs.py``.

- 100 clones of an image in one operation (`zfs program`: one transaction group, all or none) against 100 `zfs clone`
  commands one after the other, in alternating rounds.
- The processes of one ReadStorage with 5 and with 50 guests, counted: they must be equal.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from skep_helper import run, zfs
from skep_helper.handlers import Context
from skep_helper.policy import Policy
from skep_helper.vocabulary import CreateGuestFolder, ReadStorage

POOL, CLONES, ROUNDS = "skepbench", 100, 3
PROGRAM = """\
args = ...
argv = args["argv"]
for number = 1, tonumber(argv[3]) do
    local failed = zfs.sync.clone(argv[1], argv[2] .. "/c" .. number)
    if failed ~= 0 then error("clone " .. number .. ": " .. failed) end
end
"""


def command(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def one_program(folder: Path) -> None:
    script = folder / "clone.lua"
    script.write_text(PROGRAM)
    command("zfs", "program", "-t", "100000000", POOL, str(script), f"{POOL}/master@a", f"{POOL}/clones", str(CLONES))


def single_commands(folder: Path) -> None:
    for number in range(1, CLONES + 1):
        command("zfs", "clone", f"{POOL}/master@a", f"{POOL}/clones/c{number}")


def timed(work: Callable[[Path], None], folder: Path) -> float:
    """Seconds until all clones are there; then they are destroyed again."""
    command("zfs", "create", "-o", "mountpoint=none", f"{POOL}/clones")
    begun = time.monotonic()
    work(folder)
    seconds = time.monotonic() - begun
    listing = subprocess.run(
        ["zfs", "list", "-H", "-r", "-d", "1", "-t", "volume", f"{POOL}/clones"], capture_output=True, check=True
    )
    assert len(listing.stdout.splitlines()) == CLONES
    command("udevadm", "settle")
    command("zfs", "destroy", "-r", f"{POOL}/clones")
    return seconds


def clones(folder: Path) -> None:
    command("zfs", "create", "-s", "-V", "64M", f"{POOL}/master")
    command("zfs", "snapshot", f"{POOL}/master@a")
    rounds = [(timed(one_program, folder), timed(single_commands, folder)) for _ in range(ROUNDS)]
    ratios = sorted(one / many for one, many in rounds)
    shown = ", ".join(f"{one:.1f} s to {many:.1f} s" for one, many in rounds)
    print(
        f"{CLONES} clones: one program / {CLONES} commands = {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}; {shown})"
    )


def readings(folder: Path) -> None:
    places = {name: folder / name for name in ("pool", "run", "log")}
    policy = Policy(**places, dataset=f"{POOL}/skep", user="nobody", group="nogroup")  # type: ignore[arg-type]
    zfs.prepare(policy)
    context = Context(policy=policy, peer_uid=0)
    calls = folder / "calls"
    for program in ("zfs", "zpool"):
        path = folder / program
        path.write_text(f'#!/bin/sh\necho {program} "$1" >> {calls}\nexec /sbin/{program} "$@"\n')
        path.chmod(0o755)
    counts: list[int] = []
    for first, guests in ((0, 5), (5, 50)):
        for number in range(first, guests):
            zfs.HANDLERS[CreateGuestFolder](context, CreateGuestFolder(guest=f"g{number}"))
        calls.write_text("")
        known = run.ENVIRONMENT["PATH"]
        run.ENVIRONMENT["PATH"] = f"{folder}:{known}"
        begun = time.monotonic()
        reading = zfs.HANDLERS[ReadStorage](context, ReadStorage())
        seconds = time.monotonic() - begun
        run.ENVIRONMENT["PATH"] = known
        assert len(reading.folders) == guests
        counts.append(len(calls.read_text().splitlines()))
        print(f"ReadStorage with {guests} guests: {counts[-1]} processes, {seconds:.2f} s")
    print(f"processes: {counts[1]} / {counts[0]} = {counts[1] / counts[0]:.2f} with ten times the guests")


def main() -> int:
    if "SKEP_ZFS_DISKS" not in os.environ:
        sys.exit("bench_zfs writes on whole disks: python tools/test_zfs.py --program bench/bench_zfs.py")
    command("zpool", "create", "-f", "-m", "none", "-O", "volmode=dev", POOL, os.environ["SKEP_ZFS_DISKS"].split()[0])
    try:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            clones(Path(folder))
            readings(Path(folder))
    finally:
        command("zpool", "destroy", "-f", POOL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
