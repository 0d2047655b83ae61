"""A simulated host: answers the whole vocabulary in memory, with latency and faults on demand."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skep_helper import vocabulary as v

from skepd.host import HostError, Progress
from skepd.model.facts import HostFacts

from .console import open_agent
from .faults import Died, Fault, Faults
from .guests import SimGuest, SimGuests
from .network import SimNetwork
from .storage import SimStorage
from .streams import SimStreams
from .table import Table
from .usage import SimUsage
from .vm_bhyve import SimVmBhyve

GIB = 1 << 30
Handle = Callable[[Any, Progress | None], Any]
_READS = (
    v.ReadStorage, v.ReadReplica, v.EstimateSend, v.ReadNetworks, v.ReadGuests, v.ReadConsole, v.ReadVmBhyve, v.Probe,
    v.Hello, v.ReadInventory, v.ReadUsage, v.CompareSnapshot,
)  # fmt: skip


class SimHost:
    """Implements skepd.host.Host. Thread-safe.

    Durable: folders, disks, snapshots, images, trash. Volatile: networks, ports, groups, routers, guests.
    missing: facility -> reason, reported by hello and refused. latency: seconds that every request takes.
    clock: seconds since the epoch; pass one of your own to be master of time (a StopGuest then still waits in real
    time unless `wait` is given too). wait(event, seconds): waits for the event, answers whether it came.
    """

    def __init__(
        self,
        *,
        hostname: str = "sim",
        cpus: int = 8,
        memory: int = 64 * GIB,
        storage: int = 1024 * GIB,
        uplinks: tuple[str, ...] = (),
        management: tuple[str, ...] = (),
        pci_devices: tuple[str, ...] = (),
        disk_format: str = "qcow2",
        missing: Mapping[str, str] | None = None,
        latency: float = 0.0,
        clock: Callable[[], float] = time.time,
        wait: Callable[[threading.Event, float], bool] | None = None,
    ) -> None:
        self.latency, self.faults = latency, Faults()
        self._missing, self._boots = dict(missing or {}), 1
        self._facts: dict[str, Any] = {
            "hostname": hostname,
            "cpus": cpus,
            "memory": memory,
            "uplinks": uplinks,
            "management": management,
            "pci_devices": pci_devices,
            "disk_format": disk_format,
        }
        self.inventory: dict[str, Any] = {}
        """More of what ReadInventory answers, for whoever plays with it."""
        self._wait = wait or threading.Event.wait
        self._lock = threading.RLock()
        self._cancels: dict[int, threading.Event] = {}
        self.guests = SimGuests(clock, self._pause)
        self.storage = SimStorage(storage, clock, self.guests.attached)
        self.vm_bhyve = SimVmBhyve(self.storage)
        self.streams = SimStreams(self.storage, self._lock, self._check)
        self.network = SimNetwork(uplinks, self._missing)
        self.guests.storage, self.guests.network = self.storage, self.network
        self.usage = SimUsage(clock, memory, cpus, uplinks, self.guests, self.network)
        self._table: Table = {
            **self.usage.table(),
            **self.storage.table(),
            **self.streams.table(),
            **self.network.table(),
            **self.guests.table(),
            **self.vm_bhyve.table(),
            v.TrashGuestFolder: self._trash_folder,
            v.ReadInventory: lambda request: self._inventory(),
            v.Hello: lambda request: self.hello(),
            v.Cancel: lambda request: False,
        }

    # The Host protocol

    def hello(self) -> v.HelloReading:
        features = tuple(v.Feature(name=name, works=False, reason=why) for name, why in sorted(self._missing.items()))
        return v.HelloReading(version=1, platform="sim", boot_id=f"sim-boot-{self._boots}", features=features)

    def perform(self, requests: Sequence[Any], progress: Progress | None = None) -> tuple[Any, ...]:
        answers = []
        for index, request in enumerate(requests):
            try:
                answers.append(self._with_faults(request, self._handle, progress))
            except HostError as error:
                raise HostError(error.code, error.message, type(request).__name__, index) from None
        return tuple(answers)

    def open(self, request: Any) -> tuple[Any, int]:
        try:
            answer: tuple[Any, int] = self._with_faults(request, self._handle_open, None)
            return answer
        except HostError as error:
            raise HostError(error.code, error.message, type(request).__name__) from None

    def stream(self, request: Any, descriptor: int, progress: Progress | None = None) -> Any:
        def handle(request: Any, progress: Progress | None) -> Any:
            return self.streams.stream(request, descriptor, progress)

        try:
            return self._with_faults(request, handle, progress)
        except HostError as error:
            raise HostError(error.code, error.message, type(request).__name__) from None

    def cancel(self) -> None:
        with self._lock:
            for event in self._cancels.values():
                event.set()

    def close(self) -> None:
        self.storage.close()

    def _inventory(self) -> v.InventoryReading:
        return v.InventoryReading(machine="simulated", memory=self._facts["memory"], **self.inventory)

    # What happens to a host

    def facts(self) -> HostFacts:
        """What a plan must know of this host."""
        return HostFacts(platform="sim", boot_id=self.hello().boot_id, missing=dict(self._missing), **self._facts)

    def lose_power(self) -> None:
        """The volatile part is gone, guests do not run, the boot id is another one."""
        with self._lock:
            self._boots += 1
            self.network.lose_power()
            self.guests.lose_power()

    def arm(self, fault: Fault) -> None:
        self.faults.arm(fault)

    def power_off(self, guest: str) -> None:
        """The guest powers itself off."""
        self._end(guest, "power-off")

    def crash(self, guest: str, ending: str = "error") -> None:
        """The guest's VMM ends: error, triple-fault or killed."""
        self._end(guest, ending)

    def reboot(self, guest: str) -> None:
        """The guest reboots itself."""
        with self._lock:
            self.guests.reboot(self.guests.alive(guest))

    def write_disk(self, guest: str, disk: str, content: str) -> None:
        """The guest writes: `content` is what snapshots keep and a rollback brings back."""
        with self._lock:
            self.storage.disk(guest, disk).content = content

    def read_disk(self, guest: str, disk: str) -> str:
        with self._lock:
            return self.storage.disk(guest, disk).content

    def add_image(self, name: str, version: str, size: int, image_format: str = "qcow2") -> None:
        """An image that is there already, as if it had been pulled."""
        with self._lock:
            descriptor = self.storage.open_writer(
                v.OpenImageWriter(image=name, version=version, format=image_format, size=size)
            )
            os.close(descriptor)
            self.storage.publish_image(
                v.PublishImage(image=name, version=version, format=image_format, digest="5" * 64)
            )

    def _end(self, guest: str, ending: str) -> None:
        with self._lock:
            found: SimGuest = self.guests.alive(guest)
            self.guests.end(found, ending)

    # How a request is carried out

    def _with_faults(
        self, request: Any, handle: Callable[[Any, Progress | None], Any], progress: Progress | None
    ) -> Any:
        cancelled = threading.Event()
        thread = threading.get_ident()
        with self._lock:
            self._cancels[thread] = cancelled
        try:
            action = "" if isinstance(request, _READS) else self.faults.next(request)
            self._before(action)
            if self.latency:
                self._pause(self.latency)
            answer = handle(request, progress)
            self._after(action)
            return answer
        finally:
            with self._lock:
                self._cancels.pop(thread, None)

    def _before(self, action: str) -> None:
        if action == "fail":
            raise HostError("failed", "a fault was asked for here")
        if action == "full":
            raise HostError("full", "no space left on the pool")
        if action == "hang":
            self._pause(float("inf"))
        if action == "helper-dies-before":
            raise HostError("lost", "the helper went away")
        if action == "power-before":
            self.lose_power()
        if action in ("dies-before", "power-before"):
            raise Died

    def _after(self, action: str) -> None:
        if action == "helper-dies-after":
            raise HostError("lost", "the helper went away")
        if action == "power-after":
            self.lose_power()
        if action in ("dies-after", "power-after"):
            raise Died

    def _pause(self, seconds: float) -> None:
        """Let time pass in this request; raises HostError when it is cancelled."""
        event = self._cancels[threading.get_ident()]
        if seconds > 0 and self._wait(event, min(seconds, threading.TIMEOUT_MAX)):
            raise HostError("cancelled", "the request was cancelled")

    def _check(self) -> None:
        """Raises HostError when the request was cancelled."""
        if self._cancels[threading.get_ident()].is_set():
            raise HostError("cancelled", "the request was cancelled")

    def _handle(self, request: Any, progress: Progress | None) -> Any:
        if isinstance(request, v.StopGuest):
            return self.guests.stop(request)
        handler = self._table.get(type(request))
        if handler is None:
            raise HostError("rejected", f"{type(request).__name__} is not a request that answers without descriptor")
        with self._lock:
            answer = handler(request)
        if progress is not None and isinstance(request, v.CreateDisk) and request.size is not None:
            progress(request.size, request.size)
        return answer

    def _trash_folder(self, request: v.TrashGuestFolder) -> None:
        """How a guest that goes has ended goes with it, so that a host does not remember every guest it ever had."""
        self.storage.trash_folder(request)
        self.guests.forget(request.guest)

    def _handle_open(self, request: Any, progress: Progress | None) -> tuple[Any, int]:
        with self._lock:
            if isinstance(request, v.OpenImageWriter):
                return None, self.storage.open_writer(request)
            if isinstance(request, v.OpenConsole):
                return self.guests.alive(request.guest).console.open(request)
            if isinstance(request, v.OpenScreen):
                return self.guests.open_screen(request)
            if isinstance(request, v.OpenAgent):
                self.guests.alive(request.guest)
                return None, open_agent()
        raise HostError("rejected", f"{type(request).__name__} does not answer with a descriptor")
