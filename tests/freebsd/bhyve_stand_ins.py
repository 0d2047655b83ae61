"""What a bare FreeBSD lacks for guests, stood in for where a test needs bhyve and no operating system in it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import bhyve_roms as roms
from skep_helper.freebsd import guests_firmware, guests_root
from skep_helper.handlers import Failure


def stand_in_for_iasl() -> bool:
    """A host that was built without iasl: a script in its place writes an empty DSDT. The ROMs read no ACPI tables.

    Whether it was needed.
    """
    if os.path.exists("/usr/sbin/iasl"):
        return False
    guests_root.PROGRAMS = ("/usr/sbin/bhyve", "/bin/sh")
    original = guests_root.build

    def build(where: str, files: Any) -> str:
        target = original(where, files)
        program = Path(f"{target}/usr/sbin/iasl")
        if not program.exists():
            header = b"DSDT" + (36).to_bytes(4, "little") + bytes(28)
            octal = "".join(f"\\{byte:03o}" for byte in header)
            program.write_text(f"#!/bin/sh\nprintf '{octal}' > \"$2\"\n")
            program.chmod(0o555)
        return target

    guests_root.build = build
    return True


def stand_in_for_firmware(folder: Path) -> bool:
    """A host without edk2-bhyve: guests boot a ROM that sleeps, and get variables of zeros. Whether it was needed."""
    try:
        guests_firmware.find()
    except Failure:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        (folder / guests_firmware.CODE).write_bytes(roms.rom(roms.say(b"no firmware\r\n"), roms.sleep()))
        (folder / guests_firmware.VARS).write_bytes(bytes(8192))
        guests_firmware.find = partial(guests_firmware.find, (str(folder),))  # type: ignore[assignment]
        return True
    return False
