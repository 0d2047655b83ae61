"""What an exit of bhyve means: its status and what it wrote to standard error, as recorded on FreeBSD 13.2.

Exit 1 alone means nothing: a power-off, a VM that was destroyed under it, an internal error and a usage message all
give it, and standard error tells which.
"""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass

_VM_RUN = re.compile(r"^vm_run error -?\d+, errno (\d+)", re.MULTILINE)
_NO_DEVICE = 6
"""errno ENXIO on FreeBSD: the VM is not there any more."""
_DEFECTS = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP)
# What bhyve says in normal life, and would only hide the reason of an ending.
_NOISE = re.compile(
    r"^(fbuf frame buffer base: |Unhandled ps2 |(rdmsr|wrmsr) to register |pci_xhci no USB devices|\s*$)"
)
_VAGUE = "device emulation initialization error: "
_HINTS = {
    "vm_reinit: Device busy": "its VM belongs to another bhyve, or to one that was killed",
    "Could not get interface flags": "a tap was in another network stack when bhyve started",
    "Unable to setup memory": "more than this host has, or a VM of another size is left from before",
    "vm_set_topology": "more CPUs than this host has",
    "vm_create: Device not configured": "vmm(4) does not work on this processor",
    "vm_create: Operation not permitted": "its jail may not use vmm(4)",
    "Unable to initialize backend '/dev/nmdm": "the serial line's device is not visible in its jail",
}


@dataclass(frozen=True)
class Ending:
    """kind: as in vocabulary.guest.ENDINGS. message: for people, empty when there is nothing to say."""

    kind: str
    message: str = ""


def judge(status: int, errors: str) -> Ending:
    """status: as of wait(2). errors: what bhyve wrote, to standard output and error."""
    if os.WIFSIGNALED(status):
        return _signalled(os.WTERMSIG(status), errors)
    code = os.WEXITSTATUS(status)
    if code == 0:
        return Ending("reboot")
    if code == 1:
        return _one(errors)
    if code == 2:
        return Ending("halt")
    if code == 3:
        return Ending("triple-fault", "the guest's processor could not handle a fault")
    return Ending("error", _explain(f"bhyve ended with exit code {code}", errors))


def _one(errors: str) -> Ending:
    run = _VM_RUN.search(errors)
    if run and int(run[1]) == _NO_DEVICE:
        return Ending("killed", "its VM was destroyed under it")
    if run:
        return Ending("error", _explain("the processor could not go on", errors))
    if re.search(r"^Usage: bhyve", errors, re.MULTILINE):
        return Ending("error", "bhyve did not understand its arguments")
    return Ending("power-off")


def _signalled(number: int, errors: str) -> Ending:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number in _DEFECTS:
        return Ending("error", _explain(f"bhyve was ended by {name}", errors))
    return Ending("killed", f"bhyve was ended by {name}")


def _explain(what: str, errors: str) -> str:
    lines = [re.sub(r"\s+", " ", line).strip() for line in errors.splitlines() if not _NOISE.match(line)]
    telling = [line for line in lines if not line.startswith(_VAGUE)] or lines
    hint = next((hint for sign, hint in _HINTS.items() if sign in errors), "")
    text = ": ".join([what, "; ".join(telling[:3])]) if telling else what
    return f"{text} ({hint})" if hint else text
