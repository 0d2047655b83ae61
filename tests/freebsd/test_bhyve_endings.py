"""Every recorded end of bhyve, judged."""

from __future__ import annotations

import re
import signal

import pytest
from bhyve_transcripts import Block, blocks
from skep_helper.freebsd.bhyve import endings

# Guests made for the recording do one thing; what that comes to where nothing else interferes.
ROMS = {"r": "reboot", "k": "reboot", "p": "power-off", "h": "halt", "B": "power-off"}
NEEDS_ROM = re.compile(r"bootrom,/vm/tiny-(\w)\.rom")


def status(code: int) -> int:
    """wait(2)'s status from a shell's exit code."""
    return code - 128 if code > 128 else code << 8


def runs(name: str) -> list[Block]:
    found = [block for block in blocks(name) if re.match(r"(sigdfl |timeout -k \d+ \d+ )?bhyve -", block.command)]
    return [block for block in found if block.exit not in (None, 124) and ";" not in block.command]


def judge(block: Block) -> endings.Ending:
    assert block.exit is not None
    return endings.judge(status(block.exit), block.output)


def test_there_are_many() -> None:
    assert len(runs("10-bhyve-exit.txt")) > 40
    assert len(runs("12-bhyve-config.txt")) > 80


@pytest.mark.parametrize("name", ["10-bhyve-exit.txt", "11-bhyvectl.txt", "12-bhyve-config.txt"])
def test_a_guest_that_ends_by_itself(name: str) -> None:
    seen = set()
    for block in runs(name):
        rom = NEEDS_ROM.search(block.command)
        if rom and rom[1] in ROMS and not block.background and block.exit in (0, 1, 2):
            assert judge(block).kind == ROMS[rom[1]], block.command
            seen.add(rom[1])
    assert seen


def expect(block: Block) -> str:
    """From the text and status alone, as a person would read it."""
    if "vm_run error -1, errno 6" in block.stderr or block.exit in (129, 130, 131, 137, 141, 143, 158):
        return "killed"
    known = {0: "reboot", 2: "halt", 4: "error", 64: "error", 71: "error", 134: "error"}
    if block.exit == 1 and ("vm_run error" in block.stderr or "Usage:" in block.stderr):
        return "error"
    return known.get(block.exit or 0, "power-off")


@pytest.mark.parametrize(
    "name", ["10-bhyve-exit.txt", "11-bhyvectl.txt", "16-bhyve-uefi.txt", "17-bhyve-freebsd-guest.txt"]
)
def test_every_end(name: str) -> None:
    for block in runs(name):
        ending = judge(block)
        assert ending.kind == expect(block), (block.command, block.output)
        if ending.kind == "error" and block.stderr and "Usage:" not in block.stderr:
            assert block.stderr.split()[0] in ending.message


def test_what_exit_1_means() -> None:
    one = status(1)
    assert endings.judge(one, "").kind == "power-off"
    assert (
        endings.judge(one, "Unhandled ps2 mouse command 0xe1\nrdmsr to register 0xc0019999 on vcpu 0\n").kind
        == "power-off"
    )
    assert endings.judge(one, "vm_run error -1, errno 6\n") == endings.Ending("killed", "its VM was destroyed under it")
    assert "errno 14" in endings.judge(one, "vm_run error -1, errno 14\n").message
    assert endings.judge(one, "Usage: bhyve [-AaCDeHhPSuWwxY]\n").kind == "error"


def test_reasons_are_what_a_person_needs() -> None:
    disk = (
        "bhyve: Could not open backing file: /vm/nosuch.img: No such file or directory\n"
        "Could not open backing file: No such file or directory\n"
        "device emulation initialization error: No such file or directory\n"
    )
    assert "/vm/nosuch.img" in endings.judge(status(4), disk).message
    tap = "device emulation initialization error: Device not configured\nCould not get interface flags\n"
    message = endings.judge(status(4), tap).message
    assert message.endswith("Could not get interface flags (a tap was in another network stack when bhyve started)")
    busy = endings.judge(status(4), "vm_reinit: Device busy\n")
    assert "belongs to another bhyve" in busy.message
    only = endings.judge(status(4), "device emulation initialization error: Cannot allocate memory\n")
    assert "Cannot allocate memory" in only.message
    assert endings.judge(status(4), "").message == "bhyve ended with exit code 4"
    assert endings.judge(status(3), "").kind == "triple-fault"


def test_signals() -> None:
    assert endings.judge(signal.SIGKILL, "").message == "bhyve was ended by SIGKILL"
    assert endings.judge(signal.SIGSEGV, "").kind == "error"
    dump = "vm exit[0]\n\treason\t\tSVM\n\trip\t\t0x0000000000006ff5\n"
    assert endings.judge(signal.SIGABRT | 0x80, dump).message == (
        "bhyve was ended by SIGABRT: vm exit[0]; reason SVM; rip 0x0000000000006ff5"
    )
