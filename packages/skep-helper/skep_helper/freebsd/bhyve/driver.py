"""bhyve under a guard: started in its jail, run again at every reboot of its guest, ended, its endings recorded.

Keys of the state that belong here: "launch" (see freebsd.guests_start, all that a new guard needs to run it again),
"jail" (its number), "again" (the guest rebooted, and the next bhyve was not let go yet), "spread" (bhyve has made its
devices, and its taps are with their networks), "media" and "detached" (as for any VMM).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ...guard.driver import Attach
from ...guard.loop import READ, Future, Loop, Task
from ...guard.protocol import GuardError
from ...guard.state import Folder, remove, write_durably
from . import endings, jail, line, process
from .disks import Disks
from .host import Host
from .screen import Screen

STARTING = 120.0
"""Seconds for bhyve to make its devices and, for pass-through, to wire the guest's memory."""
QUIT = 30.0
"""Seconds for bhyve to end once its VM was told to power off."""
PRESS = 5.0
"""Seconds between presses of the power button: a guest may ignore it while it starts its services."""
LOOK = 0.5
"""Seconds between looks whether the guest has ACPI yet: until then SIGTERM would kill bhyve."""
BREATH = 1.0
"""Seconds that a run takes at least: a guest that resets itself at once must not cost the host a processor."""
AGAIN = 10.0
"""Seconds until a network that was not there is tried again."""
_POLL = 0.05
_TAIL = 8192


class Driver:
    """See guard.driver. host: what stands between this and FreeBSD."""

    host: Host = Host()

    def __init__(
        self, loop: Loop, folder: Folder, state: dict[str, Any], changed: Callable[[], None], attach: Attach
    ) -> None:
        self._loop = loop
        self._folder = folder
        self._state = state
        self._changed = changed
        self._attach = attach
        self._child = False
        self._pid = 0
        self._begun = 0.0
        self._exit: Any = None
        self._exited = Future()
        """Settled when no run of bhyve is under way."""
        self._exited.succeed()
        self._errors = -1
        self._tail = b""
        self._screens: list[Screen] = []
        self.ended = Future()
        self.following = False
        self.disks = Disks(loop, state, changed)

    @property
    def _launch(self) -> dict[str, Any]:
        launch: dict[str, Any] = self._state["launch"]
        return launch

    @property
    def _jail(self) -> jail.Jail:
        return jail.from_json(self._launch["jail"])

    def _spread(self) -> None:
        """The taps into their networks. A guest that ran before goes on without one that cannot, until it can."""
        try:
            self.host.spread(self._launch["policy"], self._launch["ports"])
        except GuardError as error:
            if not self._state["reboots"] or self._exited.done:
                raise
            self._state["message"] = error.message
            self._changed()
            self._loop.later(AGAIN, self._spread_later)
        self._state["spread"] = True

    def _spread_later(self) -> None:
        if not self._exited.done:
            self._try(self._spread)

    def start(self, launch: dict[str, Any], descriptors: Sequence[int]) -> Task:
        for descriptor in descriptors:
            os.close(descriptor)
        vm = self._jail.vm
        try:
            user = self.host.user_of(vm)
        except (GuardError, OSError) as error:
            self._abandon("error", f"whether a bhyve runs VM {vm} cannot be found out: {error}")
            raise
        if user:
            self._abandon("error", f"a bhyve that Skep did not start (pid {user}) runs VM {vm}; end it first")
            raise GuardError("busy", str(self._state["message"]))
        try:
            self.host.destroy_vm(vm)
            self._make_jail()
            self._open_errors()
        except (GuardError, OSError) as error:
            self._finish("error", str(error))
            raise
        yield from self._first_run()

    def adopt(self) -> Task:
        """A bhyve that is gone may have left a guest that was just rebooting: then it is run again."""
        try:
            yield from self._loop.insist(self._take_up)
        except ProcessLookupError:
            if self._state["again"]:
                yield from self._run_again()
            else:
                self._finish("unknown", "it ended while no guard ran")
            return
        self._loop.start(self.disks.thaw())
        try:
            yield from self._come_up()
        except (GuardError, OSError) as error:
            # Its guest may be fine without the network; it is not ours to end for that.
            self._state["message"] = str(error)
            self._changed()

    def _take_up(self) -> None:
        """Raises ProcessLookupError when our bhyve is gone; may be repeated after another error."""
        if self._errors < 0:
            self._open_errors()
        status = self._status()
        if status is None:
            raise ProcessLookupError
        self._attach(*self.host.open_line(line.device(self._folder.guest, "B")))
        self._follow(int(self._state["pid"]))
        self._state["state"] = "paused" if status.stopped else "running"

    def _first_run(self) -> Task:
        try:
            yield from self._run()
        except (GuardError, OSError) as error:
            yield from self._fail(str(error))
        if self.ended.done and self._state["ending"] == "error":
            raise GuardError("failed", str(self._state["message"]))

    def _run_again(self) -> Task:
        """After a reboot. It ends here when bhyve does not start any more."""
        if self.ended.done:
            return
        if self._state["state"] == "stopping":
            self._finish("reboot", "")
            return
        try:
            yield from self._run()
        except (GuardError, OSError) as error:
            yield from self._fail(f"the guest rebooted, and bhyve did not start again: {error}")

    def _fail(self, message: str) -> Task:
        """A run that did not come up: end what there is of it. What bhyve itself said counts more."""
        if self.ended.done:
            return
        if self._exited.done:
            self._finish("error", message)
            return
        self._state.update(ending="error", message=message)
        self._signal(signal.SIGKILL)
        yield self._or_ended(Future())

    def _run(self) -> Task:
        """One run of bhyve, up to the moment when its guest runs."""
        launch, where = self._launch, self._jail
        self._tail = b""
        number = self.host.find_jail(where) or self._make_jail()
        self._state["jail"] = number
        if where.agent:
            remove(f"{where.agent}/agent.sock")
        self._state["spread"] = False
        self.host.gather(launch["policy"], launch["ports"], number)
        writer = os.open(self._folder.errors, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        # Opened for reading too, so that writing never fails for want of a reader.
        files = self._open_files()
        try:
            started = process.spawn(launch, files, writer, int(self._state["jail"]))
        finally:
            for descriptor in (writer, *files):
                os.close(descriptor)
        try:
            yield from self._let_go(started)
        finally:
            os.close(started.gate)
            os.close(started.ready)
        yield from self._come_up()

    def _make_jail(self) -> int:
        """And see to it that its serial line can be made in it: one of another jail or of the host is invisible."""
        number = self.host.make_jail(self._jail)
        self._state["jail"] = number
        self._attach(-1, -1)
        self.host.free_line(line.device(self._folder.guest, "B"))
        return number

    def _let_go(self, started: process.Started) -> Task:
        """Once the serial line is open here and the pid is recorded, bhyve may run."""
        self._child = True
        self._follow(started.pid)
        status = self.host.status(started.pid)
        self._state.update(pid=started.pid, start=status.start if status else "")
        yield self._loop.ready(started.ready, READ, STARTING)
        if os.read(started.ready, 1) != process.READY:
            raise GuardError("failed", self._words() or "bhyve's process ended before it began")
        self._attach(*self.host.open_line(line.device(self._folder.guest, "B")))
        self._state["started"] = self._state["started"] or time.time()
        if self._state["state"] != "stopping":
            self._state["state"] = "running"
        self._changed()
        os.write(started.gate, b"g")
        # From here on its end is the guest's: a guard that comes later must not take it for a reboot.
        self._state["again"] = False
        self._changed()

    def _follow(self, pid: int) -> None:
        self._exit = self.host.watch(pid)
        self._pid = pid
        self._exited = Future()
        self._begun = time.monotonic()
        self._loop.watch(self._exit.fileno(), READ, lambda _: self._on_exit())
        self.following = True

    def _come_up(self) -> Task:
        """Wait until bhyve has made its devices; then its taps go to their networks."""
        deadline = time.monotonic() + STARTING
        pid = int(self._state["pid"])
        while not self._exited.done and not self._state["spread"]:
            if self.host.title(pid) == f"bhyve: {self._jail.vm}":
                self._spread()
            elif time.monotonic() > deadline:
                raise GuardError("timeout", f"bhyve did not make its devices within {STARTING:.0f} s")
            else:
                yield self._or_exited(self._loop.sleep(_POLL))
        if not self._exited.done:
            self._changed()

    def stop(self, timeout: float, force: bool, wanted: Callable[[], bool]) -> Task:
        deadline = time.monotonic() + timeout
        if timeout and self._state["state"] == "paused":
            yield from self.resume()
        self._state["state"] = "stopping"
        self._changed()
        while (left := deadline - time.monotonic()) > 0 and wanted() and not self.ended.done:
            pressed = self._press()
            yield self._or_ended(self._loop.sleep(min(PRESS if pressed else LOOK, left)))
        if self.ended.done:
            return
        if force and wanted():
            yield from self._end("killed", f"it did not shut down within {timeout:.0f} s" if timeout else "")
            return
        self._state["state"] = "running"
        self._changed()
        raise GuardError("timeout", f"the guest did not shut down within {timeout:.0f} s and runs on")

    def _press(self) -> bool:
        """Press the power button, if there is one; before the guest has enabled ACPI, SIGTERM would kill bhyve."""
        status = self._status()
        return status is not None and status.power_button and self._signal(signal.SIGTERM)

    def _end(self, ending: str, message: str) -> Task:
        """Power the VM off at once, so that bhyve closes its disks by itself; kill bhyve when it does not."""
        if not self._state["ending"]:
            self._state.update(ending=ending, message=message)
        self._state["state"] = "stopping"
        self._changed()
        self._signal(signal.SIGCONT)
        try:
            self.host.force(self._jail.vm, "poweroff")
            yield self._loop.within(self._or_ended(Future()), QUIT, "bhyve did not end")
        except GuardError as error:
            sys.stderr.write(f"{error}; killing it\n")
            self._signal(signal.SIGKILL)
            yield self._or_ended(Future())

    def reset(self) -> Task:
        if self._state["state"] == "paused":
            yield from self.resume()
        self._require_running()
        self.host.force(self._jail.vm, "reset")
        yield self._loop.sleep(0)

    def pause(self) -> Task:
        """Stopped processes do not run their virtual processors either. Its clock goes on."""
        self._require_running()
        self._signal(signal.SIGSTOP)
        self._state["state"] = "paused"
        self._changed()
        yield self._loop.sleep(0)

    def resume(self) -> Task:
        self._require_running()
        self._signal(signal.SIGCONT)
        self._state["state"] = "running"
        self._changed()
        yield self._loop.sleep(0)

    def _require_running(self) -> None:
        if not self._state["pid"] or not self._state["spread"]:
            raise GuardError("busy", "bhyve is just starting; try again")

    def screen(self) -> Task:
        self._require_running()
        if not self._launch["screen"]:
            raise GuardError("missing", "this guest has no screen")
        connection = self.host.connect(int(self._state["jail"]), int(self._launch["screen"]))
        made = Screen(self._loop, connection, self._password())
        self._screens = [other for other in self._screens if not other.closed] + [made]
        return (yield from made.open())

    def _password(self) -> bytes:
        with os.fdopen(process.open_file(self._launch["password"], os.O_RDONLY), "rb") as stream:
            return stream.read(64)

    def execute(self, command: str, arguments: dict[str, Any]) -> Future:
        future = Future()
        future.fail(GuardError("unsupported", "bhyve has no monitor"))
        return future

    def _signal(self, number: int) -> bool:
        """Send a signal to our bhyve; False when it is gone."""
        if self._status() is None:
            return False
        try:
            os.kill(int(self._state["pid"]), number)
        except ProcessLookupError:
            return False
        return True

    def _status(self) -> process.Status | None:
        """Of our bhyve; None when it is gone. Its pid alone could be another process's by now."""
        pid = int(self._state["pid"])
        status = self.host.status(pid) if pid else None
        return status if status is not None and status.start == self._state["start"] else None

    def _open_files(self) -> list[int]:
        """The configuration and the files that it names by number, in order. "": a medium that was detached."""
        found: list[int] = []
        try:
            for path, writable in self._launch["files"]:
                found.append(process.open_file(path or "/dev/null", os.O_RDWR if writable else os.O_RDONLY))
        except OSError:
            for descriptor in found:
                os.close(descriptor)
            raise
        return found

    def _or_ended(self, future: Future) -> Future:
        return _first(self.ended, future)

    def _or_exited(self, future: Future) -> Future:
        return _first(self._exited, future)

    def _on_exit(self) -> None:
        """A run of bhyve is over: the guest's reboot, or the end."""
        self.following = False
        self._loop.unwatch(self._exit.fileno())
        status = self._exit.status()
        self._exit.close()
        if self._child:
            os.waitpid(self._pid, 0)
        self._read_errors()
        for made in self._screens:
            made.close()
        ending = endings.judge(status, self._words())
        if ending.kind == "reboot" and self._state["state"] != "stopping":
            self._reboot()
        else:
            self._finish(ending.kind, ending.message)
        self._exited.succeed()  # last: who waits for it looks at what became of the guest

    def _reboot(self) -> None:
        self._state.update(again=True, reboots=self._state["reboots"] + 1, pid=0, start="")
        if self._state["media"]:
            self._detach_media()
        self._changed()
        left = max(0.0, BREATH - (time.monotonic() - self._begun))
        self._loop.later(left, self._start_again)

    def _start_again(self) -> None:
        self._loop.start(self._run_again())

    def _detach_media(self) -> None:
        """Installers' media leave at the first reboot: the next run has the configuration without them."""
        launch = self._launch
        self._state["detached"] += list(self._state["media"])
        self._state.update(media={}, media_detached=True)
        launch["files"] = launch["files_after"]
        try:
            write_durably(self._state["detached_file"], self._state["detached"])
        except OSError as error:
            sys.stderr.write(f"the list of detached media cannot be written: {error}\n")

    def _finish(self, ending: str, message: str) -> None:
        """Record how it ended; what is known from before (we ended it ourselves) counts more."""
        state = self._state
        if self.ended.done:
            return
        if not state["ending"]:
            state.update(ending=ending, message=message[:1000])
        wanted = state["ending"] in ("power-off", "halt") or state["state"] == "stopping"
        state.update(state="stopped" if wanted and state["ending"] != "error" else "crashed", ended=time.time())
        state.update(pid=0, start="", again=False)
        self._clean()
        self._changed()
        self.ended.succeed()

    def _abandon(self, ending: str, message: str) -> None:
        """The end of a start that must leave everything as it is."""
        self._state.update(ending=ending, message=message, state="crashed", ended=time.time())
        self._changed()
        self.ended.succeed()

    def _clean(self) -> None:
        """Give back what bhyve leaves: the VM with its memory, the jail. The taps stay with their networks."""
        where = self._jail
        self._try(lambda: self.host.destroy_vm(where.vm))
        if not self._state["spread"]:
            self._try(self._spread)
        self._try(lambda: self.host.remove_jail(where))

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (GuardError, OSError) as error:
            sys.stderr.write(f"left behind by guest {self._folder.guest}: {error}\n")

    def _open_errors(self) -> None:
        self._errors = os.open(self._folder.errors, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._loop.watch(self._errors, READ, lambda _: self._read_errors())

    def _read_errors(self) -> None:
        try:
            self._tail = (self._tail + os.read(self._errors, _TAIL))[-_TAIL:]
        except BlockingIOError:
            return

    def _words(self) -> str:
        self._read_errors()
        return self._tail.decode(errors="replace")


def _first(one: Future, other: Future) -> Future:
    """A future that succeeds when the first does, and otherwise is like the second."""
    either = Future()
    one.then(lambda _: either.succeed())
    other.then(lambda done: either.fail(done.error) if done.error else either.succeed(done.value))
    return either
