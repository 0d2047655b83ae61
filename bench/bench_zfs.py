"""Storage on OpenZFS, in test-zfs's guest: ``python tools/test_zfs.py --program bench/bench_zfs.py``.

- 100 clones of an image by one `zfs program` (one transaction group, all or none), and 100 by Skep (a CreateDisk each,
  with all that it checks and waits for), each against 100 `zfs clone` commands one after the other, in alternating
  rounds.
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
from skep_helper.vocabulary import CreateDisk, CreateGuestFolder, OpenImageWriter, PublishImage, ReadStorage

POOL, CLONES, ROUNDS = "skepbench", 100, 2
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
    assert volumes(f"{POOL}/clones") == CLONES
    command("udevadm", "settle")
    nodes = len(list(Path(f"/dev/zvol/{POOL}/clones").glob("c*")))
    print(f"{work.__name__}: {seconds:.1f} s; {nodes} of {CLONES} have device nodes", flush=True)
    command("zfs", "destroy", "-r", f"{POOL}/clones")
    return seconds


def volumes(below: str) -> int:
    listing = subprocess.run(
        ["zfs", "list", "-H", "-r", "-d", "1", "-t", "volume", below], capture_output=True, check=True
    )
    return len(listing.stdout.splitlines())


def by_skep(context: Context) -> float:
    """The same by the storage's handlers, in a guest of an image of the same size."""
    image = {"image": "master", "version": "1"}
    if context.policy.dataset and not volumes(f"{context.policy.dataset}/images"):
        zfs.HANDLERS[OpenImageWriter](context, OpenImageWriter(**image, format="raw", size=64 << 20))
        os.close(context.answer_descriptors.pop())
        zfs.HANDLERS[PublishImage](context, PublishImage(**image, format="raw", digest="0" * 64))
    zfs.HANDLERS[CreateGuestFolder](context, CreateGuestFolder(guest="clones"))
    begun = time.monotonic()
    for number in range(1, CLONES + 1):
        zfs.HANDLERS[CreateDisk](context, CreateDisk(guest="clones", disk=f"c{number}", format="zvol", **image))
    seconds = time.monotonic() - begun
    assert volumes(f"{context.policy.dataset}/guests/clones") == CLONES
    print(f"by_skep: {seconds:.1f} s", flush=True)
    command("zfs", "destroy", "-r", f"{context.policy.dataset}/guests/clones")
    return seconds


def clones(folder: Path) -> None:
    command("zfs", "create", "-s", "-V", "64M", f"{POOL}/master")
    command("zfs", "snapshot", f"{POOL}/master@a")
    context = prepared(folder)
    rounds = [(timed(one_program, folder), by_skep(context), timed(single_commands, folder)) for _ in range(ROUNDS)]
    for place, name in enumerate(("one program", "Skep")):
        ratios = sorted(found[place] / found[2] for found in rounds)
        median, low, high = statistics.median(ratios), ratios[0], ratios[-1]
        print(f"{CLONES} clones: {name} / {CLONES} commands = {median:.2f} ({low:.2f} to {high:.2f})", flush=True)


def prepared(folder: Path) -> Context:
    places = {name: folder / name for name in ("pool", "run", "log")}
    policy = Policy(**places, dataset=f"{POOL}/skep", user="nobody", group="nogroup")  # type: ignore[arg-type]
    zfs.prepare(policy)
    return Context(policy=policy, peer_uid=0)


def readings(folder: Path) -> None:
    context = prepared(folder)
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
