"""Guests of the simulated host: they run, answer, reboot, crash. Nothing of it survives a power loss."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from skep_helper import vocabulary as v

from skepd.host import HostError

from .console import Console
from .network import SimNetwork
from .screen import Screen
from .storage import SimStorage
from .table import Table

ALIVE = ("running", "paused", "stopping")


@dataclass
class Behaviour:
    """How a guest behaves. Times in seconds on the host's clock.

    ready_after: from its start until its gates pass; None: never. shuts_down_after: from the power button until it
    is off; None: it does not react to the button.
    """

    ready_after: float | None = 0.0
    shuts_down_after: float | None = 0.0


@dataclass
class SimGuest:
    spec: v.GuestSpec
    pid: int
    started: float
    console: Console
    screen: Screen
    state: str = "running"
    ending: str = ""
    ended: float = 0.0
    reboots: int = 0
    media_detached: bool = False

    @property
    def alive(self) -> bool:
        return self.state in ALIVE


@dataclass
class SimGuests:
    """storage, network: where a guest's disks and ports must be. pause(seconds): waits, or raises when cancelled."""

    clock: Callable[[], float]
    pause: Callable[[float], None]
    behaviour: dict[str, Behaviour] = field(default_factory=dict)
    running: dict[str, SimGuest] = field(default_factory=dict)
    storage: SimStorage = field(init=False)
    network: SimNetwork = field(init=False)
    _pids: itertools.count[int] = field(default_factory=lambda: itertools.count(1000))

    def table(self) -> Table:
        return {
            v.StartGuest: self.start,
            v.ResetGuest: self.reset,
            v.PauseGuest: self.pause_guest,
            v.ResumeGuest: self.resume_guest,
            v.ReadGuests: self.read,
            v.ReadConsole: self.read_console,
            v.Probe: self.probe,
        }

    def lose_power(self) -> None:
        for guest in self.running.values():
            guest.console.close()
            guest.screen.close()
        self.running.clear()

    def forget(self, name: str) -> None:
        guest = self.running.get(name)
        if guest is not None and not guest.alive:
            guest.console.close()
            del self.running[name]

    def attached(self, name: str) -> set[str] | None:
        guest = self.running.get(name)
        return {disk.disk for disk in guest.spec.disks} if guest is not None and guest.alive else None

    def alive(self, name: str) -> SimGuest:
        guest = self.running.get(name)
        if guest is None or not guest.alive:
            raise HostError("missing", f"guest {name} does not run")
        return guest

    def start(self, request: v.StartGuest) -> v.GuestReading:
        spec = request.guest
        there = self.running.get(spec.name)
        if there is not None and there.alive:
            return self._reading(there)
        self._check_start(spec)
        console = there.console if there is not None else Console()
        guest = SimGuest(spec, next(self._pids), self.clock(), console, Screen(spec.name))
        guest.console.boot(f"{spec.name} starts\r\n".encode())
        self.running[spec.name] = guest
        return self._reading(guest)

    def _check_start(self, spec: v.GuestSpec) -> None:
        folder = self.storage.folder(spec.name)
        if not folder.promoted:
            raise HostError("conflict", f"guest {spec.name} is a replica here: promote it first")
        for disk in spec.disks:
            self.storage.disk(spec.name, disk.disk)
        if spec.seed and folder.seed is None:
            raise HostError("missing", f"guest {spec.name} has no seed")
        for nic in spec.nics:
            if nic.port not in self.network.ports:
                raise HostError("missing", f"there is no port {nic.port}")
        for media in spec.media:
            if (media.image, media.version) not in self.storage.images:
                raise HostError("missing", f"there is no image {media.image}:{media.version}")
        for other in self.running.values():
            if other.alive:
                _check_free(other.spec, spec)

    def stop(self, request: v.StopGuest) -> None:
        """Called without the host's lock, for it may take its time."""
        guest = self.running.get(request.guest)
        if guest is None or not guest.alive:
            return
        needs = self._behaves(request.guest).shuts_down_after
        # A paused guest is let go on first, as both real drivers do, or it could never shut down.
        orderly = needs is not None and needs <= request.timeout and request.timeout > 0
        guest.state = "stopping"
        try:
            self.pause(needs if orderly and needs is not None else request.timeout)
        except HostError:
            guest.state = "running"
            raise
        if not orderly and not request.force:
            guest.state = "running"
            raise HostError("timeout", f"guest {request.guest} did not shut down within {request.timeout} s")
        self.end(guest, "power-off" if orderly else "killed")

    def end(self, guest: SimGuest, ending: str) -> None:
        guest.state = "crashed" if ending in ("error", "triple-fault") else "stopped"
        guest.ending, guest.ended = ending, self.clock()
        guest.console.close()
        guest.screen.close()

    def reboot(self, guest: SimGuest) -> None:
        guest.reboots += 1
        guest.started = self.clock()
        guest.media_detached = guest.media_detached or any(media.until_reboot for media in guest.spec.media)
        guest.console.boot(f"{guest.spec.name} reboots\r\n".encode())

    def reset(self, request: v.ResetGuest) -> None:
        self.reboot(self.alive(request.guest))

    def pause_guest(self, request: v.PauseGuest) -> None:
        self.alive(request.guest).state = "paused"

    def resume_guest(self, request: v.ResumeGuest) -> None:
        self.alive(request.guest).state = "running"

    def _behaves(self, name: str) -> Behaviour:
        return self.behaviour.get(name, Behaviour())

    def probe(self, request: v.Probe) -> v.ProbeReading:
        guest = self.running.get(request.guest)
        if guest is None or not guest.alive:
            return v.ProbeReading(passed=False, detail="the guest does not run")
        if request.kind == "serial" and guest.console.said(request.text.encode()):
            return v.ProbeReading(passed=True, detail="the text was there")
        after = self._behaves(request.guest).ready_after
        ready = guest.state == "running" and after is not None and self.clock() >= guest.started + after
        return v.ProbeReading(passed=ready, detail="" if ready else "no answer yet")

    def read(self, request: v.ReadGuests) -> tuple[v.GuestReading, ...]:
        return tuple(self._reading(guest) for _, guest in sorted(self.running.items()))

    def _reading(self, guest: SimGuest) -> v.GuestReading:
        return v.GuestReading(
            name=guest.spec.name,
            state=guest.state,
            digest=guest.spec.digest if guest.alive else "",
            pid=guest.pid if guest.alive else 0,
            started=guest.started,
            ending=guest.ending,
            ended=guest.ended,
            reboots=guest.reboots,
            media_detached=guest.media_detached,
            accelerator="sim",
        )

    def open_screen(self, request: v.OpenScreen) -> tuple[None, int]:
        guest = self.alive(request.guest)
        if not guest.spec.screen:
            raise HostError("missing", "this guest has no screen")
        return None, guest.screen.open()

    def read_console(self, request: v.ReadConsole) -> dict[str, object]:
        guest = self.running.get(request.guest)
        if guest is None:
            raise HostError("missing", f"guest {request.guest} has not run since the host started")
        offset, data = guest.console.read(request.offset, request.length)
        return {"offset": offset, "data": base64.b64encode(data).decode()}


def _check_free(other: v.GuestSpec, spec: v.GuestSpec) -> None:
    """Raise HostError for what a running guest holds and another one wants."""
    devices = set(other.passthrough) & set(spec.passthrough)
    if devices:
        raise HostError("busy", f"guest {other.name} has PCI device {min(devices)}")
    ports = {nic.port for nic in other.nics} & {nic.port for nic in spec.nics}
    if ports:
        raise HostError("busy", f"guest {other.name} still runs with port {min(ports)}: restart it first")
