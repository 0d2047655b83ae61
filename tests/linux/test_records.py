"""A guest writes numbered records to two disks in turn, each on its disk before the next; snapshots of it while it
runs hold both disks at one instant, and a rollback brings back a state without a gap."""

from __future__ import annotations

import re
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from host_lab import SAFETY, Machine, machine
from skepd.engine.engine import Engine

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]
GUEST = "writer"
SITE = """
[host]
name = "ledger"

[image.skep-small]
version = "1"

[guest.writer]
memory = "256M"
boot = { shutdown-timeout = "0s" }
disk = [
    { name = "system", image = "skep-small" },
    { name = "one", size = "64M" },
    { name = "two", size = "64M" },
]
"""
MOUNT = "skep-mount /dev/vdb /mnt/one && skep-mount /dev/vdc /mnt/two"
CHECKED = re.compile(rb"last (\d+) (\d+) gap (yes|no)")
AWAIT_BOTH = "until [ $(cat /mnt/two/records 2>/dev/null | wc -l) -ge {0} ]; do sleep 0.2; done"


class Shell:
    """The root shell on the guest's serial console."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._number = 0
        self.until(rb"root \(automatic\)")

    def until(self, expression: bytes) -> re.Match[bytes]:
        """Read until this comes; the time is only a safety net."""
        seen = b""
        while not (found := re.search(expression, seen)):
            assert select.select([self._socket], [], [], SAFETY)[0], f"{expression!r} did not come: {seen[-2000:]!r}"
            data = self._socket.recv(65_536)
            assert data, f"the console closed: {seen[-2000:]!r}"
            seen += data
        return found

    def run(self, command: str) -> bytes:
        """A command to its end; what was seen of it. The echo of what is typed does not hold the mark."""
        self._number += 1
        self._socket.sendall(f"{command}; echo end''-{self._number}-$?.\n".encode())
        return self.until(rf"(?s)(.*)end-{self._number}-0\.".encode())[1]

    def check(self) -> tuple[int, int, str]:
        """The last numbers, and whether there is a gap."""
        found = CHECKED.search(self.run("skep-records --check /mnt/one /mnt/two || true"))
        assert found
        return int(found[1]), int(found[2]), found[3].decode()

    def close(self) -> None:
        self._socket.close()


@contextmanager
def shell(engine: Engine) -> Iterator[Shell]:
    made = Shell(engine.open_console(GUEST, writer=True, take=True)[0])
    try:
        yield made
    finally:
        made.close()


def act(engine: Engine, action: str, **options: Any) -> None:
    ended = engine.wait(engine.guest_action(GUEST, action, options).id, SAFETY)
    assert (ended.state, ended.error) == ("done", "")


def snapshots(engine: Engine) -> dict[str, bool]:
    (folder,) = engine.observe().storage.folders
    return {snapshot.snapshot: snapshot.frozen for snapshot in folder.snapshots}


@pytest.fixture
def here() -> Iterator[Machine]:
    with machine() as made:
        made.publish()
        yield made


def test_no_gap_after_a_rollback(here: Machine) -> None:
    with here.engine() as engine:
        ended = engine.wait(engine.apply_site(SITE, "site.toml").id, SAFETY)
        assert (ended.state, ended.error) == ("done", "")
        with shell(engine) as console:
            console.run(MOUNT)
            console.run("(skep-records /mnt/one /mnt/two >/dev/null 2>&1 &)")
            console.run(AWAIT_BOTH.format(20))
            act(engine, "snapshot", snapshot="running", quiesce=False)
            console.run(AWAIT_BOTH.format(60))
            console.run("until pidof qemu-ga; do sleep 0.2; done")
            act(engine, "snapshot", snapshot="frozen", quiesce=True)
            # The number that is there now is put in by the shell, once.
            console.run(f"n=$(wc -l </mnt/two/records); {AWAIT_BOTH.format('$((n + 20))')}")
        assert snapshots(engine) == {"running": False, "frozen": True}
        lasts = [last_after(engine, name) for name in ("frozen", "running")]
        assert lasts[0] > lasts[1] >= 20
        # And there would be a gap, were the disks of different instants.
        act(engine, "stop", timeout=0)
        disk = here.pool / "guests" / GUEST / "disks" / "one.qcow2"
        subprocess.run(["qemu-img", "snapshot", "-a", "frozen", str(disk)], check=True)
        act(engine, "start")
        with shell(engine) as console:
            console.run(MOUNT)
            first, second, gap = console.check()
        assert (second, gap) == (lasts[1], "yes")
        assert first >= lasts[0]


def last_after(engine: Engine, snapshot: str) -> int:
    """Roll back, start, and look: the last number on both disks."""
    act(engine, "rollback", snapshot=snapshot, start=True)
    with shell(engine) as console:
        console.run(MOUNT)
        first, second, gap = console.check()
    assert gap == "no"
    assert second <= first <= second + 1
    return second
