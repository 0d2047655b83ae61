"""The two things that happen by themselves: events of what changes on the host, and repair of what drifted."""

from __future__ import annotations

import logging
import threading
import time

from skep_helper.vocabulary import GuestReading, ReadGuests

from skepd.host import Host, HostError
from skepd.model.errors import DefinitionError
from skepd.model.names import Manager

from .contract import Refused
from .events import Events
from .operations import ENDED, Operations, Planner

log = logging.getLogger("skepd.watch")
GUEST_SECONDS = 2.0
REPAIR_SECONDS = 30.0
LEFT = "(left as it is)"
"""How notes end that say what is wrong with an object that is otherwise not touched."""
RETRY_SECONDS = 300.0
"""How long a repair that failed is not tried again, as long as it would do the same."""


class Watch:
    """Owns one thread. planner: what would repair the host now."""

    def __init__(self, host: Host, events: Events, operations: Operations, planner: Planner) -> None:
        self._host, self._events, self._operations, self._planner = host, events, operations, planner
        self._stop = threading.Event()
        self._paused = False
        self._guests: dict[str, GuestReading] = {}
        self._under_way: tuple[str, tuple[str, ...]] | None = None
        self._failed: tuple[tuple[str, ...], float] = ((), 0.0)
        self._warned = ""
        self.problems: tuple[str, ...] = ()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def pause(self) -> None:
        """Repair nothing any more."""
        self._paused = True

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def _run(self) -> None:
        repair_at = time.monotonic() + REPAIR_SECONDS
        while not self._stop.wait(GUEST_SECONDS):
            try:
                self.look()
                if time.monotonic() >= repair_at:
                    repair_at = time.monotonic() + REPAIR_SECONDS
                    self.repair()
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
        """Begin to bring back what drifted; nothing while operations run, because their work is not finished."""
        self._judge()
        if self._paused or self._operations.busy():
            return
        plan = self._planner().plan
        self.problems = tuple(note.text for note in plan.notes if note.refuses or note.text.endswith(LEFT))
        summaries = tuple(step.summary for step in plan.steps)
        if not summaries:
            return
        failed, when = self._failed
        if failed == summaries and time.monotonic() - when < RETRY_SECONDS:
            return
        self._events.emit("host.drift", "host", steps=list(summaries))
        operation = self._operations.submit("repair what drifted", Manager.SITE, self._planner, repair=True)
        self._under_way = operation.id, summaries

    def await_repair(self) -> None:
        """Wait for the end of the repair that is under way, however long that takes (gates are waited for)."""
        if self._under_way is not None:
            self._operations.wait(self._under_way[0], threading.TIMEOUT_MAX)
            self._judge()

    def _judge(self) -> None:
        """Look at how the last repair ended."""
        if self._under_way is None:
            return
        identity, summaries = self._under_way
        operation = self._operations.get(identity)
        if operation.state not in ENDED:
            return
        self._under_way = None
        if operation.state != "done":
            # What succeeded is no longer in the plan; what is left is not tried again at once.
            left = tuple(step.summary for step in operation.steps if step.state != "done") or summaries
            self._failed = (left, time.monotonic())
            self._events.emit("host.warning", "host", text=f"repair failed: {operation.error}")

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
