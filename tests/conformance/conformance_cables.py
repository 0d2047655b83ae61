"""What an administrator has on a FreeBSD host: interfaces with a cable that the test holds, bridges, jails, rules.

A tap of the host stands for a network card: what leaves the host by it is read from its device, and what is written
there comes in from outside.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from network_guest import Guest
from skep_helper.vocabulary import PortSpec

D = "0" * 16


def run(*argv: str, stdin: str = "", fails: bool = False) -> str:
    """fails: that it may."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    assert fails or done.returncode == 0, (argv, done.stderr)
    return done.stdout


@contextmanager
def cable(name: str, number: int = 99, mtu: int = 1500) -> Iterator[Guest]:
    """A network card of this name, up, and who is at the far end of its cable: 10.0.0.NUMBER, fd00::NUMBER."""
    device = run("ifconfig", "tap", "create").strip()
    run("ifconfig", device, "name", name, "mtu", str(mtu), "up")
    far = PortSpec(
        name="far-end", network="outside", digest=D, rules_digest=D, mac=f"02:00:00:00:00:{number:02x}",
        addresses=(f"10.0.0.{number}", f"fd00::{number:x}"),
    )  # fmt: skip
    guest = Guest(os.open(f"/dev/{device}", os.O_RDWR | os.O_NONBLOCK), far)
    try:
        yield guest
    finally:
        guest.close()
        run("ifconfig", name, "destroy")


@contextmanager
def switch(name: str, *members: str) -> Iterator[None]:
    """A bridge of the administrator's."""
    make_switch(name, *members)
    try:
        yield
    finally:
        run("ifconfig", name, "destroy")


def make_switch(name: str, *members: str) -> None:
    run("ifconfig", "bridge", "create", "name", name)
    run("ifconfig", name, *(word for member in members for word in ("addm", member)), "up")
