"""QEMU: with KVM where a guest really boots with it, else emulated."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .contents import find

BOOTED, RESULT = "skep-booted", "skep-result"
"""What init says when it begins, and before the status when it ends."""
KVM_PATIENCE = 40.0
"""Seconds within which a guest with KVM must have begun; it takes about three."""
NO_RESULT = 70
_LATEST = 8192
_KVM = ("-accel", "kvm", "-cpu", "host")
_EMULATED = ("-accel", "tcg,thread=multi", "-cpu", "max,la57=off")


@dataclass(frozen=True, kw_only=True)
class Guest:
    """What to boot. memory: MiB. disks: raw files, in the guest /dev/vda, /dev/vdb, ..."""

    kernel: Path
    archive: Path
    memory: int = 1536
    disks: Sequence[Path] = ()

    def command(self, accelerator: Iterable[str]) -> list[str]:
        command = [
            str(find("qemu-system-x86_64")), *accelerator, "-smp", "2", "-m", str(self.memory),
            "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-kernel", str(self.kernel),
            "-initrd", str(self.archive), "-append", "console=ttyS0 panic=-1 quiet rdinit=/init mitigations=off",
        ]  # fmt: skip
        for disk in self.disks:
            command += ["-drive", f"file={disk},if=virtio,format=raw,cache=unsafe,discard=unmap"]
        return command


def run(guest: Guest, name: str, timeout: float, cache: Path) -> int:
    """Boot, print what the guest prints, and return the status that it tells; NO_RESULT without one.

    cache: a folder that keeps, until this machine boots again, whether KVM works.
    """
    accelerator = _KVM if _kvm_works(guest, cache / "kvm.json") else _EMULATED
    kind = "KVM" if accelerator is _KVM else "no KVM: this takes some minutes"
    print(f"{name}: starting the guest ({kind})", flush=True)
    status = NO_RESULT
    with _started(guest, accelerator) as machine:
        end = threading.Timer(timeout, machine.kill)
        end.start()
        try:
            said = ""
            # Not line by line: pytest writes a dot for each test, and a line of them takes minutes.
            while data := _read(machine):
                sys.stdout.write(data)
                sys.stdout.flush()
                said = (said + data)[-_LATEST:]
                found = re.search(rf"{RESULT} (\d+)\s", said)
                status = int(found.group(1)) if found else status
        finally:
            end.cancel()
            machine.kill()
    if status == NO_RESULT:
        print(f"{name}: the guest did not come to its end (within {timeout:.0f} s)", file=sys.stderr)
    return status


def _read(machine: subprocess.Popen[str]) -> str:
    """What it says next; "" at its end."""
    assert machine.stdout is not None
    return os.read(machine.stdout.fileno(), 4096).decode(errors="replace")


def _started(guest: Guest, accelerator: Iterable[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        guest.command(accelerator), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    )


def _kvm_works(guest: Guest, kept: Path) -> bool:
    """Whether this guest begins with KVM: /dev/kvm may be there, open, and still hang or crash every guest."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if kept.exists() and (known := json.loads(kept.read_text()))["boot"] == boot:
        return bool(known["works"])
    works = _begins_with_kvm(guest)
    kept.write_text(json.dumps({"boot": boot, "works": works}))
    return works


def _begins_with_kvm(guest: Guest) -> bool:
    begun = False
    with _started(guest, _KVM) as machine:
        end = threading.Timer(KVM_PATIENCE, machine.kill)
        end.start()
        try:
            for line in machine.stdout or ():
                begun = begun or BOOTED in line
                if begun:
                    break
        finally:
            end.cancel()
            machine.kill()
    return begun
