"""Guests on Linux: the handlers of vocabulary.guest. Work on a running guest is done by its guard."""

from __future__ import annotations

from ..guard import readings, spawning
from ..guard.requests import console_opener, console_reader, open_agent, open_screen, simple, stop
from ..handlers import Handler
from ..policy import Policy
from ..vocabulary.guest import (
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
from . import guests_kvm, guests_probe, guests_sources, guests_start
from .qemu import tpm

HANDLERS: dict[type, Handler] = {
    StartGuest: guests_start.start,
    StopGuest: stop,
    ResetGuest: simple("reset"),
    PauseGuest: simple("pause"),
    ResumeGuest: simple("resume"),
    ReadGuests: readings.read,
    ReadConsole: console_reader(guests_sources.guest_folder),
    OpenConsole: console_opener(guests_sources.guest_folder),
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
"""Whatever needs an answer of a VMM or a guard: one that hangs, or that its guest took over, holds up nobody else."""


def features(policy: Policy) -> tuple[Feature, ...]:
    """The KVM probe starts a guest and takes seconds, once a boot."""
    return (
        guests_kvm.feature(policy),
        _feature("swtpm", tpm.reason()),
    )


FEATURES = features


def _feature(name: str, reason: str) -> Feature:
    return Feature(name=name, works=not reason, reason=reason[:256])


def prepare(policy: Policy) -> None:
    """Have the process ready that guards are forked from: it must be small, and free of threads."""
    spawning.connect(str(policy.run)).close()


def recover(policy: Policy) -> None:
    """Give every running guest whose guard was killed a new one."""
    readings.readings(policy)
