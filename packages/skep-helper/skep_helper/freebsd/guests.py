"""Guests on FreeBSD: the handlers of vocabulary.guest. Work on a running guest is done by its guard."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from .. import log
from ..guard import readings, spawning, state
from ..guard.protocol import GuardError
from ..guard.requests import console_opener, console_reader, open_agent, open_screen, simple, stop
from ..handlers import Context, Failure, Handler
from ..paths import Folder
from ..policy import Policy
from ..run import run
from ..vocabulary.guest import (
    GuestReading,
    OpenAgent,
    OpenConsole,
    OpenScreen,
    PauseGuest,
    Probe,
    ReadConsole,
    ReadGuests,
    ResetGuest,
    ResumeGuest,
    StartGuest,
    StopGuest,
)
from ..vocabulary.host import Feature
from . import guests_check, guests_facts, guests_firmware, guests_probe, guests_root, guests_sources, guests_start
from .bhyve import process

_PROBE = "skep.probe"


def _home(policy: Policy, guest: str) -> AbstractContextManager[Folder]:
    return guests_sources.storage().guest_folder(policy, guest)


def read(context: Context, request: ReadGuests) -> tuple[GuestReading, ...]:
    return tuple(readings.to_reading(_told(record)) for record in readings.readings(context.policy))


def _told(record: dict[str, Any]) -> dict[str, Any]:
    """With a word on a guard that somebody stopped: it holds its lock, so it looks alive, and answers nobody."""
    guard = int(record.get("guard", 0))
    if record["state"] not in state.LIVE or not guard:
        return record
    try:
        status = process.status(guard)
    except GuardError:
        return record
    if status is None or not status.stopped:
        return record
    return {**record, "message": f"its guard was stopped by a signal and does nothing: kill -CONT {guard}"}


HANDLERS: dict[type, Handler] = {
    StartGuest: guests_start.start,
    StopGuest: stop,
    ResetGuest: simple("reset"),
    PauseGuest: simple("pause"),
    ResumeGuest: simple("resume"),
    ReadGuests: read,
    ReadConsole: console_reader(_home),
    OpenConsole: console_opener(_home),
    OpenScreen: open_screen,
    OpenAgent: open_agent,
    Probe: guests_probe.probe,
}
LONG: frozenset[type] = frozenset(
    {
        StartGuest,
        StopGuest,
        ResetGuest,
        PauseGuest,
        ResumeGuest,
        OpenConsole,
        OpenScreen,
        OpenAgent,
        Probe,
    }
)
"""Whatever waits for bhyve, for its guard, or for the tools around it, holds up nobody else."""


def features(policy: Policy) -> tuple[Feature, ...]:
    facts = guests_facts.read()
    return (
        _feature("vmm", facts.vmm or _try_vmm()),
        _feature("nmdm", "" if facts.nmdm else f"nmdm(4) is not loaded; {guests_facts.LOAD}"),
        _feature("uefi", _try_firmware()),
        _feature("passthrough", "" if facts.iommu else "no IOMMU (VT-d or AMD-Vi) is in use"),
        _feature("swtpm", tpm_reason(facts)),
        _feature("secure-boot", "bhyve's firmware has no secure boot"),
    )


FEATURES = features


def tpm_reason(facts: guests_facts.Facts) -> str:
    old = facts.release < guests_check.TPM_RELEASE
    return "bhyve has TPMs from FreeBSD 14.0 on" if old else "this version gives guests no TPM yet"


def prepare(policy: Policy) -> None:
    """Have the modules and files that bhyve needs, if they can be had, and the process ready that guards are forked
    from: it must be small, and free of threads. What fails here is told to whoever starts a guest."""
    try:
        run(["kldload", "-n", "vmm", "nmdm"])
    except Failure as failure:
        log.line("no-vmm", reason=failure.message)
    try:
        guests_root.tidy(policy)
        guests_root.prepare(policy)
    except (Failure, OSError) as error:
        log.line("no-root-of-guests", reason=error)
    spawning.connect(str(policy.run)).close()


def recover(policy: Policy) -> None:
    """Give every running guest whose guard was killed a new one."""
    readings.readings(policy)


def _try_vmm() -> str:
    """Make a VM and remove it; why that does not work."""
    try:
        run(["bhyvectl", f"--vm={_PROBE}", "--create"])
        run(["bhyvectl", f"--vm={_PROBE}", "--destroy"])
    except Failure as failure:
        return f"vmm(4) makes no VM: {failure.message}"
    return ""


def _try_firmware() -> str:
    try:
        guests_firmware.find()
    except Failure as failure:
        return failure.message
    return ""


def _feature(name: str, reason: str) -> Feature:
    return Feature(name=name, works=not reason, reason=reason[:256])
