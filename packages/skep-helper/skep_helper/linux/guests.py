"""Guests on Linux: the handlers of vocabulary.guest. Work on a running guest is done by its guard."""

from __future__ import annotations

import base64
import socket
from typing import Any

from ..guard import client, spawning, state
from ..guard.history import History
from ..handlers import Context, Failure, Handler
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
from . import guests_kvm, guests_probe, guests_read, guests_start
from .guests_files import SERIAL
from .storage import layout

_ENDING = 300
"""Seconds beyond an orderly shutdown's own limit for QEMU to write back what its disks hold."""
_MAX_READ = 1 << 20


def stop(context: Context, request: StopGuest) -> None:
    policy, guest = context.policy, request.guest
    if client.is_running(policy, guest):
        message = {"op": "stop", "timeout": request.timeout, "force": request.force}
        patience = request.timeout + _ENDING
        try:
            client.ask_long(policy, guest, message, patience, lambda: context.progress(0, 0))
        except Failure:
            if client.is_running(policy, guest):
                raise
    client.await_guard_gone(policy, guest)


def _simple(operation: str) -> Handler:
    def handle(context: Context, request: Any) -> None:
        client.ask(context.policy, request.guest, {"op": operation})

    return handle


def read_console(context: Context, request: ReadConsole) -> dict[str, object]:
    """Also of a stopped guest: the history lies beside its disks."""
    length = min(max(request.length, 0), _MAX_READ)
    with layout.guest_folder(context.policy, request.guest) as home:
        if not home.exists(SERIAL):
            return {"offset": 0, "data": ""}
        home.folder(SERIAL).close()
        history = History(home.shown(SERIAL))
    start = history.end - length if request.offset < 0 else request.offset
    offset, data = history.read(max(start, 0), length)
    return {"offset": offset, "data": base64.b64encode(data).decode()}


def open_console(context: Context, request: OpenConsole) -> None:
    message = {"op": "console", "writer": request.writer, "take": request.take}
    context.answer_descriptors.append(client.ask_descriptor(context.policy, request.guest, message))


def open_screen(context: Context, request: OpenScreen) -> None:
    context.answer_descriptors.append(client.ask_descriptor(context.policy, request.guest, {"op": "screen"}))


def open_agent(context: Context, request: OpenAgent) -> None:
    if not client.is_running(context.policy, request.guest):
        raise Failure("missing", f"guest {request.guest} does not run; start it first")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.setblocking(False)
            connection.connect(state.Folder(str(context.policy.run), request.guest).agent)
            connection.setblocking(True)
        except BlockingIOError:
            raise Failure("busy", f"guest {request.guest}: others wait for its agent's port already") from None
        except FileNotFoundError:
            raise Failure("missing", f"guest {request.guest} was started without an agent's port") from None
        context.answer_descriptors.append(connection.detach())


HANDLERS: dict[type, Handler] = {
    StartGuest: guests_start.start,
    StopGuest: stop,
    ResetGuest: _simple("reset"),
    PauseGuest: _simple("pause"),
    ResumeGuest: _simple("resume"),
    ReadGuests: guests_read.read,
    ReadConsole: read_console,
    OpenConsole: open_console,
    OpenScreen: open_screen,
    OpenAgent: open_agent,
    Probe: guests_probe.probe,
}
LONG: frozenset[type] = frozenset({StopGuest, ResetGuest, PauseGuest, ResumeGuest, OpenScreen, Probe})
"""Whatever needs an answer of a VMM: one that hangs, or that its guest took over, holds up nobody else."""


def features(policy: Policy) -> tuple[Feature, ...]:
    """The KVM probe starts a guest and takes seconds, once a boot."""
    return (
        guests_kvm.feature(policy),
        Feature(name="swtpm", works=False, reason="this version gives guests no TPM yet"),
    )


FEATURES = features


def prepare(policy: Policy) -> None:
    """Have the process ready that guards are forked from: it must be small, and free of threads."""
    spawning.connect(str(policy.run)).close()


def recover(policy: Policy) -> None:
    """Give every running guest whose guard was killed a new one."""
    guests_read.readings(policy)
