"""The two things that happen by themselves: events of what changes on the host, and repair of what drifted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from skep_helper.vocabulary import GuestReading, ReadGuests

from skepd.host import Host, HostError
from skepd.model.errors import DefinitionError

from .contract import Refused
from .events import Events
from .operations import Operations, Planner

log = logging.getLogger("skepd.watch")
GUEST_SECONDS = 2.0
REPAIR_SECONDS = 30.0
LEFT = "(left as it is)"
"""How notes end that say what is wrong with an object that is otherwise not touched."""
RETRY_SECONDS = 300.0
"""How long a repair that failed is not tried again, as long as it would do the same."""


class Watch:
    """Owns two threads. planner: what would repair the host now."""

    def __init__(self, host: Host, events: Events, operations: Operations, planner: Planner) -> None:
        self._host, self._events, self._operations, self._planner = host, events, operations, planner
        self._stop = threading.Event()
        self._paused = False
        self._guests: dict[str, GuestReading] = {}
        self._failed: tuple[tuple[str, ...], float] = ((), 0.0)
        self._warned = ""
        self.problems: tuple[str, ...] = ()
        # Two, because a repair may wait for a guest's gate while events of guests go on.
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for name, run in (("watch", self._run), ("repair", self._run_repairs))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        """Repair nothing any more."""
        self._paused = True

    def close(self) -> None:
        self._stop.set()

    def join(self) -> None:
        """Wait for the threads to end, after `close` and after operations are at an end."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join(10.0)

    def _run(self) -> None:
        self._every(GUEST_SECONDS, self.look)

    def _run_repairs(self) -> None:
        self._every(REPAIR_SECONDS, self.repair)

    def _every(self, seconds: float, act: Callable[[], None]) -> None:
        while not self._stop.wait(seconds):
            try:
                act()
                self._warned = ""
            except (HostError, OSError, DefinitionError, Refused) as error:
                self._warn(str(error))
            except Exception as error:
                # A fault of ours must not end the watch for the years that skepd runs.
                log.exception("watching failed")
                self._warn(f"watching failed: {error!r}")

    def look(self) -> None:
        """Read the guests and tell what became of them since."""
        (readings,) = self._host.perform((ReadGuests(),))
        now = {reading.name: reading for reading in readings}
        for name, reading in now.items():
            self._compare(self._guests.get(name), reading)
        for name in self._guests.keys() - now.keys():
            self._events.emit("guest.gone", f"guest/{name}")
        self._guests = now

    def repair(self) -> None:
        """Bring back what drifted; nothing while operations run, because their work is not finished.

        Blocks until it is done, however long that takes (guests start, gates are waited for).
        """
        if self._paused or self._operations.busy():
            return
        plan = self._planner().plan
        self.problems = tuple(note.text for note in plan.notes if note.refuses or note.text.endswith(LEFT))
        summaries = tuple(step.summary for step in plan.steps)
        failed, when = self._failed
        if not summaries or (failed == summaries and time.monotonic() - when < RETRY_SECONDS):
            return
        self._events.emit("host.drift", "host", steps=list(summaries))
        ended = self._operations.repair(self._planner)
        if ended.state == "failed":
            # What succeeded is no longer in the next plan; what is left is not tried again at once.
            left = tuple(step.summary for step in ended.steps if step.state != "done") or summaries
            self._failed = (left, time.monotonic())
            self._events.emit("host.warning", "host", text=f"repair failed: {ended.error}")

    def _compare(self, before: GuestReading | None, now: GuestReading) -> None:
        ref = f"guest/{now.name}"
        if before is None or (before.state, before.pid) != (now.state, now.pid):
            if now.state in ("stopped", "crashed"):
                self._events.emit("guest.ended", ref, state=now.state, ending=now.ending, message=now.message)
            else:
                self._events.emit("guest.state", ref, state=now.state, accelerator=now.accelerator)
        if before is not None and now.reboots > before.reboots:
            self._events.emit("guest.rebooted", ref, reboots=now.reboots)
        if before is not None and now.media_detached and not before.media_detached:
            self._events.emit("guest.media-detached", ref)

    def _warn(self, text: str) -> None:
        """Once for each new trouble, not every two seconds."""
        if text != self._warned:
            self._warned = text
            log.warning("%s", text)
            self._events.emit("host.warning", "host", text=text)
