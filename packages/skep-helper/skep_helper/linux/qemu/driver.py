"""QEMU under a guard: started or taken over, followed by its monitor and its process, ended, its ending recorded.

QEMU is told to pause at a power-off instead of leaving, so that the ending can be learned even by a guard that came
later. The state (guard.state) says all that a new guard must know.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from ...guard.driver import Attach
from ...guard.loop import READ, Future, Loop, Task
from ...guard.protocol import GuardError
from ...guard.state import Folder
from . import process
from .disks import Disks
from .qmp import Qmp
from .tpm import FILES, Tpm

GREETING = 60.0
"""Seconds for QEMU to answer after its start: on a busy host, allocating a large guest's memory takes long."""
ADOPTING = 5.0
"""Seconds that a new guard waits for the monitor before it says that it is there: the helper waits for that."""
QUIT = 60.0
"""Seconds for QEMU to write back what its disks still hold, once it was told to leave."""
PRESS = 5.0
"""Seconds between presses of the power button: a guest ignores it until its ACPI driver is up."""
STARTING = -10
"""Nice value of a guard and its QEMU until the guest runs."""
_TAIL = 4096


class Driver:
    """state: the guard's, changed in place. changed(): to be called after each change. ended: settled at the end."""

    def __init__(
        self, loop: Loop, folder: Folder, state: dict[str, Any], changed: Callable[[], None], attach: Attach
    ) -> None:
        attach(*process.open_line(folder.output, folder.typed))
        self._loop = loop
        self._folder = folder
        self._state = state
        self._changed = changed
        self._qmp = Qmp(loop, self._event, self._lost)
        self._child = False
        self._leaving = False
        self._process = -1
        self._errors = -1
        self._tail = b""
        self._io_error = ""
        self._tpm = Tpm(loop, state, changed)
        self.ended = Future()
        self.following = False
        self.disks = Disks(loop, folder, state, changed, self._qmp)

    def start(self, launch: dict[str, Any], descriptors: Sequence[int]) -> Task:
        """Start QEMU; raises GuardError with its own words when it does not come up."""
        process.favour(STARTING)
        self._open_errors()
        writer = os.open(self._folder.errors, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        of_qemu = descriptors[: len(descriptors) - FILES] if launch.get("tpm") else descriptors
        pid, gate = process.spawn(launch, of_qemu, writer, self._folder.serial)
        gates = [gate]
        if launch.get("tpm"):
            gates.insert(0, self._tpm.start(_confined(launch), descriptors[-FILES:], writer))
        os.close(writer)
        for descriptor in descriptors:
            os.close(descriptor)
        self._child = True
        try:
            start = process.start_time(pid)
            self._follow(os.pidfd_open(pid))
            self._state.update(pid=pid, start=start, state="running", started=time.time())
            self._changed()
            for gate in gates:
                os.write(gate, b"g")
        finally:
            for gate in gates:
                os.close(gate)
        try:
            yield from self._first_attach()
        finally:
            process.favour(0)

    def adopt(self) -> Task:
        """Take over a QEMU that another guard started; its ending is recorded if it is gone."""
        pid = int(self._state.get("pid", 0))
        try:
            yield from self._loop.insist(lambda: self._take_up(pid))
        except ProcessLookupError:
            self._finish("unknown", "it ended while no guard ran")
            return
        self._state["state"] = "running"  # until QEMU says otherwise; nobody stops it any more
        attached = self._loop.start(self._attach())
        try:
            yield self._loop.within(self._or_ended(attached), ADOPTING, "nothing came")
        except (GuardError, OSError) as error:
            # It may hang on its disks; its guest is not ours to end for that.
            self._state["message"] = f"QEMU's monitor does not answer: {error}"
            self._changed()
            attached.then(lambda outcome: self._lost() if outcome.error else None)
        if not self.ended.done:
            yield from self.disks.thaw()

    def stop(self, timeout: float, force: bool, wanted: Callable[[], bool]) -> Task:
        """Press the power button until the guest is off; end it at the timeout, if force. wanted(): whether the one
        who asked still waits. Raises GuardError(timeout)."""
        deadline = time.monotonic() + timeout
        if timeout and self._state["state"] == "paused":
            yield from self.resume()
        self._state["state"] = "stopping"
        self._changed()
        while (left := deadline - time.monotonic()) > 0 and wanted() and not self.ended.done:
            try:
                yield self._qmp.execute("system_powerdown")
            except GuardError as error:
                if error.code != "lost":  # lost: it is ending just now
                    raise
            yield self._or_ended(self._loop.sleep(min(PRESS, left)))
        if self.ended.done:
            return
        if force and wanted():
            yield from self.end("killed", f"it did not shut down within {timeout:.0f} s" if timeout else "")
            return
        self._state["state"] = "running"
        yield from self._settle()
        self._changed()
        raise GuardError("timeout", f"the guest did not shut down within {timeout:.0f} s and runs on")

    def end(self, ending: str, message: str) -> Task:
        """End QEMU at once and record why; data that the guest has written reaches its disks."""
        if not self._state["ending"]:
            self._state.update(ending=ending, message=message)
        self._state["state"] = "stopping"
        self._changed()
        if not self._leaving:
            self._leaving = True
            yield from self._quit()
        yield self._or_ended(Future())

    def _quit(self) -> Task:
        """Tell QEMU to leave, again when the monitor is just being connected; kill it when it does not."""
        deadline = time.monotonic() + QUIT
        while (left := deadline - time.monotonic()) > 0 and not self.ended.done:
            try:
                yield self._or_ended(self._qmp.execute("quit"))
                yield self._loop.within(self._or_ended(Future()), left, "QEMU did not leave")
            except GuardError:
                yield self._or_ended(self._loop.sleep(0.2))
        if not self.ended.done:
            signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def reset(self) -> Task:
        yield self._qmp.execute("system_reset")
        yield from self.resume()

    def pause(self) -> Task:
        yield self._qmp.execute("stop")
        yield from self._settle()

    def resume(self) -> Task:
        yield self._qmp.execute("cont")
        yield from self._settle()

    def screen(self) -> Task:
        """Let QEMU speak RFB on one end of a new connection; returns the other."""
        name = f"screen-{time.monotonic_ns()}"
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            try:
                yield self._qmp.execute("getfd", {"fdname": name}, ours.fileno())
                yield self._qmp.execute("add_client", {"protocol": "vnc", "fdname": name, "skipauth": True})
            except BaseException:
                theirs.close()
                raise
        return theirs.detach()

    def execute(self, command: str, arguments: dict[str, Any]) -> Future:
        """Any command of the monitor, for helpers that are newer than this guard."""
        return self._qmp.execute(command, arguments)

    def _attach(self) -> Task:
        """Connect to the monitor, unless QEMU ends before; see what it is doing."""
        yield self._or_ended(self._loop.start(self._qmp.connect(self._folder.qmp, GREETING)))
        if not self.ended.done:
            yield from self._settle()

    def _first_attach(self) -> Task:
        """A QEMU that was just started must answer."""
        try:
            yield from self._attach()
        except (GuardError, OSError) as error:
            if not self.ended.done:
                self._state.update(ending="error", message=f"QEMU's monitor: {error}")
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
                yield self._or_ended(Future())
        if self.ended.done and self._state["ending"] == "error":
            raise GuardError("failed", str(self._state["message"]))

    def _settle(self) -> Task:
        """Read QEMU's run state and act on it."""
        if self.ended.done:
            return
        status = str((yield self._qmp.execute("query-status"))["status"])
        if status == "shutdown":
            yield from self.end("power-off", "")
        elif status == "guest-panicked":
            yield from self.end("error", "the guest's kernel panicked")
        elif status == "internal-error":
            yield from self.end("error", f"{self._state['accelerator']} could not go on (internal error of QEMU)")
        else:
            self._note(status)

    def _note(self, status: str) -> None:
        """The states in which QEMU stays."""
        state = self._state
        before = (state["state"], state["message"])
        if state["state"] != "stopping":
            state["state"] = "running" if status == "running" else "paused"
        if status == "io-error":
            state["message"] = self._io_error or "a disk could not be read or written"
        elif status == "running" and self._io_error:
            self._io_error = state["message"] = ""
        if before != (state["state"], state["message"]):
            self._changed()

    def _event(self, name: str, data: dict[str, Any]) -> None:
        if name == "RESET" and data.get("guest"):
            self._state["reboots"] += 1
            self._changed()
            self._loop.start(self.disks.detach_media()).then(self._tell)
        elif name == "BLOCK_IO_ERROR":
            full = " (no space left on the host)" if data.get("nospace") else ""
            nodes = {node: name for name, (node, _) in self._state["disks"].items()}
            disk = nodes.get(str(data.get("node-name")), "?")
            self._io_error = f"disk {disk} failed to {data.get('operation', 'work')}{full}"
        elif name in ("SHUTDOWN", "STOP", "RESUME"):
            if data.get("reason") == "host-signal" and not self._state["ending"]:
                self._state.update(ending="killed", message="QEMU was told to end by a signal")
                self._changed()
            self._loop.start(self._settle()).then(self._tell)

    def _tell(self, outcome: Future) -> None:
        """What failed with nobody waiting for it is told by the next reading; a lost monitor by QEMU's end."""
        if outcome.error is not None and getattr(outcome.error, "code", "") != "lost":
            self._state["message"] = str(outcome.error)
            self._changed()

    def _lost(self) -> None:
        """The monitor closed. QEMU is ending, and its process will say so; or it dropped us: connect again."""
        self._loop.later(1.0, self._reconnect)

    def _reconnect(self) -> None:
        if not self.ended.done:
            self._qmp.close()
            self._loop.start(self._attach()).then(lambda outcome: self._lost() if outcome.error else None)

    def _or_ended(self, future: Future) -> Future:
        """A future that also succeeds when QEMU ends, whatever becomes of the other one then."""
        either = Future()
        self.ended.then(lambda _: either.succeed())
        future.then(lambda done: either.fail(done.error) if done.error else either.succeed(done.value))
        return either

    def _take_up(self, pid: int) -> None:
        """Raises ProcessLookupError when our QEMU is gone; may be repeated after another OSError."""
        if not pid:
            raise ProcessLookupError
        descriptor = os.pidfd_open(pid)
        try:
            # Asked once it is held: until then the number may become another process's.
            if process.start_time(pid) != self._state.get("start"):
                raise ProcessLookupError
            if self._errors < 0:
                self._open_errors()
            self._tpm.adopt()
            self._follow(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def _follow(self, descriptor: int) -> None:
        self._loop.watch(descriptor, READ, lambda _: self._exited())
        self._process = descriptor
        self.following = True

    def _exited(self) -> None:
        self._loop.unwatch(self._process)
        self._read_errors()
        self._loop.start(self._tpm.end()).then(lambda _: self._explain())

    def _explain(self) -> None:
        """Nothing of the guest runs any more."""
        if not self._child:
            self._finish("unknown", "it ended; the guard that started it was gone by then")
            return
        _, status = os.waitpid(int(self._state["pid"]), 0)
        if os.WIFSIGNALED(status):
            self._finish("killed", f"QEMU was killed by signal {os.WTERMSIG(status)}")
        elif os.WEXITSTATUS(status):
            self._finish("error", f"QEMU ended with exit code {os.WEXITSTATUS(status)}")
        else:
            self._finish("unknown", "QEMU left by itself")

    def _finish(self, ending: str, message: str) -> None:
        """Record how it ended. What is known from before (the monitor said so, or we ended it) counts more."""
        state = self._state
        if not state["ending"]:
            lines = self._tail.decode(errors="replace").strip().splitlines()
            state.update(ending=ending, message=": ".join([message, *lines[-1:]]))
        wanted = state["ending"] == "power-off" or state["state"] == "stopping"
        state.update(state="stopped" if wanted and state["ending"] != "error" else "crashed", ended=time.time(), pid=0)
        self._changed()
        self.ended.succeed()
        self._qmp.close()

    def _open_errors(self) -> None:
        self._errors = os.open(self._folder.errors, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._loop.watch(self._errors, READ, lambda _: self._read_errors())

    def _read_errors(self) -> None:
        """QEMU's standard error: its last lines explain an ending."""
        if self._errors < 0:
            return
        try:
            self._tail = (self._tail + os.read(self._errors, _TAIL))[-_TAIL:]
        except BlockingIOError:
            return


def _confined(launch: dict[str, Any]) -> dict[str, Any]:
    """swtpm has the guest's user and none of QEMU's other rights."""
    return {"uid": launch["uid"], "gid": launch["gid"], "groups": []}
