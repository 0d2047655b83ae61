"""Handlers of guest requests that a guard answers: the same for every VMM. Platforms put them into their tables."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ..handlers import Context, Failure, Handler
from ..paths import Folder
from ..policy import Policy
from ..vocabulary.guest import OpenAgent, OpenConsole, OpenScreen, ReadConsole, StopGuest
from . import client, state
from .history import History

SERIAL = "serial"
"""The folder of a guest's serial history, beside its disks."""
_ENDING = 300
"""Seconds beyond an orderly shutdown's own limit for a VMM to write back what its disks hold."""
_MAX_READ = 1 << 20
_ATTEMPTS = 50
HomeOf = Callable[[Policy, str], AbstractContextManager[Folder]]


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


def simple(operation: str) -> Handler:
    """An operation without arguments: reset, pause, resume."""

    def handle(context: Context, request: Any) -> None:
        client.ask(context.policy, request.guest, {"op": operation})

    return handle


def console_reader(home_of: HomeOf) -> Handler:
    """ReadConsole, also of a stopped guest. home_of: opens the guest's folder; raises Failure(missing)."""

    def read_console(context: Context, request: ReadConsole) -> dict[str, object]:
        length = min(max(request.length, 0), _MAX_READ)
        with home_of(context.policy, request.guest) as home:
            if not home.exists(SERIAL):
                return {"offset": 0, "data": ""}
            home.folder(SERIAL).close()
            history = History(home.shown(SERIAL))
        start = history.end - length if request.offset < 0 else request.offset
        offset, data = history.read(max(start, 0), length)
        return {"offset": offset, "data": base64.b64encode(data).decode()}

    return read_console


def console_opener(home_of: HomeOf) -> Handler:
    """OpenConsole. home_of: as of console_reader."""

    def open_console(context: Context, request: OpenConsole) -> dict[str, object]:
        policy, guest = context.policy, request.guest
        message = {"op": "console", "writer": request.writer, "take": request.take, "offset": request.offset}
        end = -1
        for _ in range(_ATTEMPTS):
            answer, descriptor = client.ask_descriptor(policy, guest, message)
            # A guard of an older version: the console begins with what the guest says next. Where that is, is known
            # when it said nothing between two looks.
            begins = answer["offset"] if "offset" in answer else _end_of(home_of, policy, guest)
            if "offset" in answer or begins == end:
                context.answer_descriptors.append(descriptor)
                return {"offset": begins}
            os.close(descriptor)
            end, message["take"] = begins, request.writer
        raise Failure("busy", f"guest {guest} says too much for the guard it was started with; try again")

    return open_console


def _end_of(home_of: HomeOf, policy: Policy, guest: str) -> int:
    with home_of(policy, guest) as home:
        if not home.exists(SERIAL):
            return 0
        home.folder(SERIAL).close()
        return History(home.shown(SERIAL)).end


def open_screen(context: Context, request: OpenScreen) -> None:
    _, descriptor = client.ask_descriptor(context.policy, request.guest, {"op": "screen"})
    context.answer_descriptors.append(descriptor)


def open_agent(context: Context, request: OpenAgent) -> None:
    if not client.is_running(context.policy, request.guest):
        raise Failure("missing", f"guest {request.guest} does not run; start it first")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.setblocking(False)
            connection.connect(agent_path(context.policy, request.guest))
            connection.setblocking(True)
        except BlockingIOError:
            raise Failure("busy", f"guest {request.guest}: others wait for its agent's port already") from None
        except FileNotFoundError:
            raise Failure("missing", f"guest {request.guest} was started without an agent's port") from None
        context.answer_descriptors.append(connection.detach())


def agent_path(policy: Policy, guest: str) -> str:
    """The socket of the agent's port of a running guest; a VMM in a jail has it in a folder of its own."""
    folder = state.Folder(str(policy.run), guest)
    record = state.read(folder) or {}
    return str(record.get("agent", folder.agent))
