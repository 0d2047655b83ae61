"""Storage on OpenZFS, in test-zfs's guest: ``python tools/test_zfs.py --program bench/bench_zfs.py``.

- 100 clones of an image by Skep (a CreateDisk each, with all that it checks and waits for) against 100 `zfs clone`
  commands one after the other, in alternating rounds. Not by a channel program (`zfs program`), which could make all of
  them in one transaction group: OpenZFS 2.1, which FreeBSD 13.2 and Debian 12 have, has no zfs.sync.clone (tried).
- The processes of one ReadStorage with 5 and with 50 guests, counted: they must be equal.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from skep_helper import run, zfs
from skep_helper.handlers import Context
from skep_helper.policy import Policy
from skep_helper.vocabulary import CreateDisk, CreateGuestFolder, OpenImageWriter, PublishImage, ReadStorage

POOL, CLONES, ROUNDS = "skepbench", 100, 2


def command(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def by_commands() -> float:
    """Seconds until all clones are there; then they are destroyed again."""
    command("zfs", "create", "-o", "mountpoint=none", f"{POOL}/clones")
    begun = time.monotonic()
    for number in range(1, CLONES + 1):
        command("zfs", "clone", f"{POOL}/master@a", f"{POOL}/clones/c{number}")
    seconds = time.monotonic() - begun
    assert volumes(f"{POOL}/clones") == CLONES
    print(f"{CLONES} commands: {seconds:.1f} s", flush=True)
    command("udevadm", "settle")
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
    print(f"Skep: {seconds:.1f} s", flush=True)
    command("zfs", "destroy", "-r", f"{context.policy.dataset}/guests/clones")
    return seconds


def clones(context: Context) -> None:
    command("zfs", "create", "-s", "-V", "64M", f"{POOL}/master")
    command("zfs", "snapshot", f"{POOL}/master@a")
    ratios = sorted(by_skep(context) / by_commands() for _ in range(ROUNDS))
    print(
        f"{CLONES} clones: Skep / {CLONES} commands = {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )


def prepared(folder: Path) -> Context:
    places = {name: folder / name for name in ("pool", "run", "log")}
    policy = Policy(**places, dataset=f"{POOL}/skep", user="nobody", group="nogroup")  # type: ignore[arg-type]
    zfs.prepare(policy)
    return Context(policy=policy, peer_uid=0)


def readings(context: Context, folder: Path) -> None:
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
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        try:
            context = prepared(Path(folder))
            readings(context, Path(folder))
            clones(context)
        finally:
            command("zpool", "destroy", "-f", POOL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
