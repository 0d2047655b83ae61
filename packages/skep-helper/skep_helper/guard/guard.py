"""The guard of one guest: a process that starts or takes over its VMM and answers for it until it has ended."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from . import protocol, state
from .console import Console
from .driver import Driver
from .history import History
from .loop import READ, Future, Loop, Task
from .protocol import VERSION, GuardError

DRIVERS = ("skep_helper.linux.qemu.driver", "skep_helper.freebsd.bhyve.driver")
"""Modules with a Driver class, see guard.driver."""
_MAX_LOG = 256 * 1024
_MAX_REASON = 4000
_RETRY = 5.0


def driver_module(name: object) -> Any:
    """The module of a driver; raises GuardError for any other module."""
    if name not in DRIVERS:
        raise GuardError("unsupported", f"{name!r:.80} is no VMM driver of this version")
    return importlib.import_module(str(name))


class Guard:
    """Owns the loop, the serial line, the control socket and the state file."""

    def __init__(self, folder: state.Folder, record: dict[str, Any]) -> None:
        self.folder = folder
        self.record = record
        self.loop = Loop()
        self._connections: dict[int, socket.socket] = {}
        self._deserting = False
        history = History(record["history"])
        if record["serial_start"] < 0:
            record["serial_start"] = history.end
        self._console = Console(self.loop, history)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        state.remove(folder.socket)
        self._listener.bind(folder.socket)
        os.chmod(folder.socket, 0o600)
        self._listener.listen(64)
        self._listener.setblocking(False)
        made = driver_module(record["driver"]).Driver(self.loop, folder, record, self.save, self._console.attach)
        self.driver: Driver = made
        self.driver.ended.then(lambda _: self.loop.later(0, self.loop.stop))

    def save(self) -> None:
        try:
            state.write(self.folder, self.record)
        except OSError as error:
            sys.stderr.write(f"the state cannot be written, trying again: {error}\n")
            self.loop.later(_RETRY, self.save)

    def close(self) -> None:
        """After the end: let consoles have the last output, leave nothing but the state and the history. To a VMM that
        runs on, its sockets and pipes are left too."""
        self._console.close()
        for connection in self._connections.values():
            connection.close()
        self._listener.close()
        if self._deserting:
            state.remove(self.folder.socket)
        else:
            self.folder.sweep()

    def ready(self, connection: socket.socket, outcome: Future, adopting: bool) -> None:
        """The VMM executes, or did not come up: tell the one who wanted it, and serve those who wait."""
        if outcome.error is not None and not self.driver.ended.done and not self.driver.following:
            self._give_up(str(outcome.error), adopting)
        self.answer(connection, outcome)
        self.loop.watch(self._listener.fileno(), READ, lambda _: self._accept())

    def _give_up(self, reason: str, adopting: bool) -> None:
        """A guard that follows no VMM would never end. What was to be started is not there; of what was to be taken
        over nothing was learned, so that the state stays for the next guard, which the next reading starts."""
        self._deserting = adopting
        if not adopting:
            self.record.update(state="crashed", ending="error", message=reason[:_MAX_REASON], ended=time.time())
            self.save()
        sys.stderr.write(f"this guard leaves: {reason}\n")
        self.loop.later(0, self.loop.stop)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # gone again, or no descriptor is free for now
            return
        self.serve(connection)

    def serve(self, connection: socket.socket) -> None:
        self._connections[connection.fileno()] = connection
        self.loop.watch(connection.fileno(), READ, lambda _: self._request(connection))

    def answer(self, connection: socket.socket, outcome: Future) -> None:
        """Send what a task came to; its descriptors are closed once sent."""
        descriptors: list[int] = []
        if outcome.error is None:
            message = {"version": VERSION, "state": self.record, **(outcome.value or {})}
            descriptors = message.pop("descriptors", [])
        else:
            code = getattr(outcome.error, "code", "failed")
            message = {"version": VERSION, "error": code, "message": str(outcome.error)[:_MAX_REASON]}
        if connection.fileno() >= 0:
            with contextlib.suppress(OSError):  # the other side did not wait
                try:
                    protocol.send(connection, message, descriptors)
                except GuardError as error:  # too long: what a VMM says may be anything
                    protocol.send(connection, {"version": VERSION, "error": "failed", "message": error.message})
        for descriptor in descriptors:
            os.close(descriptor)

    def _request(self, connection: socket.socket) -> None:
        try:
            message, descriptors = protocol.receive(connection)
        except (GuardError, OSError):
            message, descriptors = None, []
        for descriptor in descriptors:
            os.close(descriptor)
        if message is None:
            self._drop(connection)
            return
        self.loop.start(self._operate(message, connection)).then(lambda outcome: self.answer(connection, outcome))

    def _drop(self, connection: socket.socket) -> None:
        self._connections.pop(connection.fileno(), None)
        self.loop.unwatch(connection.fileno())
        connection.close()

    def _operate(self, message: dict[str, Any], connection: socket.socket) -> Task:
        """One operation; its value is merged into the answer, which always carries the state."""
        operation = message.get("op")
        if operation == "reading":
            return None
        if operation == "console":
            writer, take, offset = bool(message.get("writer")), bool(message.get("take")), message.get("offset")
            theirs, begins = self._console.open(writer=writer, take=take, offset=offset)
            return {"descriptors": [theirs.detach()], "offset": begins}
        if operation == "screen":
            return (yield from self._screen())
        if operation == "execute":
            result = yield self.driver.execute(str(message["command"]), message.get("arguments") or {})
            return {"return": result}
        if operation == "stop":
            wanted = self._connections.__contains__
            number = connection.fileno()
            return (yield from self.driver.stop(message["timeout"], message["force"], lambda: wanted(number)))
        if operation in ("reset", "pause", "resume"):
            return (yield from getattr(self.driver, operation)())
        return (yield from self._operate_disks(message))

    def _operate_disks(self, message: dict[str, Any]) -> Task:
        disks = self.driver.disks
        operation = message.get("op")
        if operation == "snapshot":
            return {"frozen": (yield from disks.snapshot(message["snapshot"], message["quiesce"]))}
        if operation == "remove-snapshot":
            return (yield from disks.remove_snapshot(message["snapshot"]))
        if operation == "freeze":
            return {"frozen": (yield from disks.freeze(float(message["seconds"])))}
        if operation == "thaw":
            return (yield from disks.thaw())
        if operation == "grow":
            return (yield from disks.grow(message["disk"], message["size"]))
        raise GuardError("unsupported", f"this guest's guard does not know {operation!r:.40}; restart the guest")

    def _screen(self) -> Task:
        if not self.record.get("screen", True):
            raise GuardError("missing", "this guest has no screen")
        return {"descriptors": [(yield from self.driver.screen())]}


def run(connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int]) -> None:
    """The life of a guard, from the spawner's fork to the end of its guest.

    message: {"run", "guest"} to take over what the state file says; with "launch" to start, and then the first
    descriptor is the guard's lock, held since before anything was prepared, and the others are the VMM's.
    The spawner's client gets the first answer: the state once the VMM executes, or why it does not.
    """
    folder = state.Folder(message["run"], message["guest"])
    launch = message.get("launch")
    lock = descriptors[0] if launch else state.acquire(folder)
    if lock is None:
        protocol.send(connection, {"error": "exists", "message": "the guest has a guard"})
        return
    record = launch["state"] if launch else state.read(folder)
    if record is None or (not launch and record["state"] not in state.LIVE):
        protocol.send(connection, {"error": "missing", "message": "the guest does not run"})
        return
    _log_to(folder)
    record.update(guard=os.getpid(), version=VERSION)
    guard = Guard(folder, record)
    guard.save()
    task = guard.driver.start(launch, descriptors[1:]) if launch else guard.driver.adopt()
    guard.serve(connection)
    guard.loop.start(task).then(lambda outcome: guard.ready(connection, outcome, not launch))
    guard.loop.run()
    guard.close()
    os.close(lock)


def _log_to(folder: state.Folder) -> None:
    """A guard has nobody to tell of a fault in itself: its standard error is a file, kept by the next one."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(folder.log, flags, 0o600)
    if os.fstat(descriptor).st_size > _MAX_LOG:
        os.ftruncate(descriptor, 0)
    os.dup2(descriptor, 2)
    os.close(descriptor)
