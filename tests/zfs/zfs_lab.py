"""Real pools for tests, on the disks of the guest that `make test-zfs` starts."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
PATIENCE = 60.0


class Refused(Exception):
    """A command that ended with a status; the text is what it wrote to stderr."""


def run(*argv: str, data: bytes = b"") -> str:
    done = subprocess.run(argv, input=data, capture_output=True, env=ENVIRONMENT, check=False)
    if done.returncode:
        raise Refused(f"{' '.join(argv)}: {done.stderr.decode(errors='replace').strip()} ({done.returncode})")
    return done.stdout.decode()


def zfs(*words: str) -> str:
    return run("zfs", *words)


def zpool(*words: str) -> str:
    return run("zpool", *words)


def disks() -> list[str]:
    """Whole disks that tests may write on."""
    return os.environ["SKEP_ZFS_DISKS"].split()


@contextmanager
def made_pool(name: str, *devices: str) -> Iterator[str]:
    """A pool on these devices or files, destroyed afterwards with all that is in it."""
    zpool("create", "-f", "-m", f"/tmp/{name}", "-O", "compression=off", "-O", "volmode=dev", name, *devices)
    try:
        yield name
    finally:
        zpool("destroy", "-f", name)


@contextmanager
def made_dataset(name: str) -> Iterator[str]:
    """A file system, destroyed afterwards with all that is in it."""
    zfs("create", name)
    try:
        yield name
    finally:
        wipe(name)


def wipe(dataset: str) -> None:
    """Destroy a dataset with all that is in it, held snapshots and clones elsewhere too."""
    held = zfs("list", "-Hp", "-r", "-t", "snapshot", "-o", "userrefs,name", dataset).splitlines()
    snapshots = [name for count, name in (line.split("\t") for line in held) if count != "0"]
    for line in zfs("holds", "-H", *snapshots).splitlines() if snapshots else ():
        snapshot, tag, *_ = line.split("\t")
        zfs("release", tag, snapshot)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            zfs("destroy", "-R", dataset)
            return
        except Refused as error:
            # udev has a new device open for moments.
            if "busy" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.2)


def await_node(volume: str) -> Path:
    """The device node of a volume, once udev has made it. Raises TimeoutError."""
    path = Path("/dev/zvol") / volume
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path} did not appear within {PATIENCE:.0f} s")
        time.sleep(0.05)
    return path


def names(*words: str) -> set[str]:
    """The names that `zfs list` gives."""
    return set(zfs("list", "-H", "-o", "name", *words).split())
