"""skep-guard with the real bhyve in real jails, and its serial line on nmdm(4). Guests are ROMs of a few bytes."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from conformance_lab import PREFIX, need, only_on, variants
from skep_helper.freebsd.bhyve import line
from skepd.host import Host

sys.path.append(str(Path(__file__).resolve().parent.parent / "freebsd"))
from bhyve_real import TEST_OF, carry_out
from bhyve_stand_ins import stand_in_for_iasl


@only_on("freebsd")
@variants(case=tuple(TEST_OF))
def test_a_guest_under_bhyve(host: Host, case: str) -> None:
    need(host, "vmm", "nmdm")
    stand_in_for_iasl()
    carry_out(case)


@only_on("freebsd")
def test_a_serial_line_is_raw_and_never_waits(host: Host) -> None:
    """Both ends as the guard sets its own up: nothing comes back as echo, and no byte is changed."""
    need(host, "nmdm")
    ends = [line.open_line(line.device(f"{PREFIX}-line", side)) for side in "AB"]
    (guest, _), (guard, _) = ends
    try:
        every = bytes(range(256))
        os.write(guest, every)
        assert take(guard, len(every)) == every
        os.write(guard, b"typed\r")
        assert take(guest, 6) == b"typed\r"
        assert not select.select([guest, guard], [], [], 0.2)[0], "something came back as echo"
    finally:
        for descriptor in (descriptor for pair in ends for descriptor in pair):
            os.close(descriptor)


def take(descriptor: int, count: int) -> bytes:
    found = b""
    while len(found) < count:
        assert select.select([descriptor], [], [], 10.0)[0], found
        found += os.read(descriptor, count - len(found))
    return found
