"""What tests of the engine share: a simulated machine, and lives of skepd on it that end where a test says."""

from __future__ import annotations

import copy
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from skep_helper import vocabulary as v
from skepd.engine.contract import Operation
from skepd.engine.engine import Engine, Settings
from skepd.host import Host, HostError, Progress
from skepd.model.definitions import parse_object
from skepd.model.names import Kind
from skepd.model.objects import Object
from skepd.plan.observed import READINGS, Observed
from skepd.platform.sim import Died, SimHost
from skepd.platform.sim.console import Console
from skepd.platform.sim.files import SimFiles
from skepd.platform.sim.guests import SimGuest

STATE, GUESTS = Path("/state"), Path("/pool/guests")
READS = (
    v.ReadStorage,
    v.ReadNetworks,
    v.ReadGuests,
    v.ReadConsole,
    v.Probe,
    v.Hello,
    v.ReadInventory,
    v.ReadUsage,
    v.CompareSnapshot,
)
GIB = 1 << 30


class Machine:
    """A simulated host with its disk. A guest's definition lies in the guest's folder and goes with it."""

    def __init__(self, host: SimHost | None = None, files: SimFiles | None = None, seed: int = 0) -> None:
        self.host = host or SimHost(uplinks=("eth0", "eth1"), management=("eth0",), clock=lambda: 1000.0)
        self.files = files or SimFiles(seed)
        self.trashed: dict[tuple[str, str], list[tuple[Path, Any, Any]]] = {}

    def lose_power(self) -> None:
        self.host.lose_power()
        self.files.lose_power()

    def copy(self, seed: int = 0) -> Machine:
        """The same host and files once more, so that a state is prepared once for many tests."""
        host = SimHost(uplinks=("eth0", "eth1"), management=("eth0",), clock=lambda: 1000.0)
        ours, other = self.host, host
        for part in ("folders", "images", "trash"):
            setattr(other.storage, part, copy.deepcopy(getattr(ours.storage, part)))
        for part in ("networks", "ports", "routers", "groups", "damaged"):
            setattr(other.network, part, dict(getattr(ours.network, part)))
        for name, guest in ours.guests.running.items():
            fresh = {**vars(guest), "console": Console()}
            other.guests.running[name] = SimGuest(**fresh)
        files = SimFiles(seed)
        files._names, files._durable_names = copy.deepcopy((self.files._names, self.files._durable_names))
        machine = Machine(host, files)
        host._boots = ours._boots
        return machine

    def paths(self, folder: Path = Path("/")) -> list[Path]:
        found = []
        for name in self.files.names(folder):
            inside = self.paths(folder / name)
            found += inside or [folder / name]
        return found

    def folder_moved(self, request: Any) -> None:
        """Take the files in a guest's folder along to the trash, back, or away for good."""
        self.files._tree = None
        if isinstance(request, v.TrashGuestFolder) and request.guest not in self.host.storage.folders:
            self._take_away(request.guest, request.key)
        elif isinstance(request, v.UntrashGuestFolder):
            for path, file, durable in self.trashed.pop((request.guest, request.key), []):
                self.files._names[path] = file
                if durable is not None:
                    self.files._durable_names[path] = durable
        elif isinstance(request, v.EmptyTrash):
            self.trashed = {place: files for place, files in self.trashed.items() if place[1] != request.key}

    def _take_away(self, guest: str, key: str) -> None:
        names, durable = self.files._names, self.files._durable_names
        folder = GUESTS / guest
        taken = [(path, names.pop(path), durable.pop(path, None)) for path in list(names) if folder in path.parents]
        for path in [path for path in durable if folder in path.parents]:
            del durable[path]
        self.trashed.setdefault((guest, key), []).extend(taken)


@dataclass
class Life:
    """One run of skepd on a machine: every call that changes something is a tick. It dies at tick `die_at` (then the
    machine loses power too, if `power`), after which nothing that it does has any effect."""

    machine: Machine
    die_at: int = 0
    power: bool = False
    labels: list[str] = field(default_factory=list)
    dead: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)
    running: Engine = field(init=False)

    def tick(self, label: str) -> None:
        with self.lock:
            self.check()
            self.labels.append(label)
            if len(self.labels) == self.die_at:
                self.dead = True
                if self.power:
                    self.machine.lose_power()
                raise Died

    def check(self) -> None:
        if self.dead:
            raise Died

    def unless_left_out(self, verb: str, act: Callable[[], None]) -> Callable[[], None]:
        """`act`, or nothing when the code that calls is the mutant without this fsync."""
        site = call_site(verb)
        SITES.add(site)
        return (lambda: None) if site == LEFT_OUT.get("site") else act

    def engine(self, **settings: Any) -> Engine:
        chosen: dict[str, Any] = {
            "files": LifeFiles(self),
            "state": STATE,
            "pool_guests": GUESTS,
            "connect": lambda: LifeHost(self),
            "read_facts": lambda hello: self.machine.host.facts(),
            "pull": pull,
            "version": "test",
            "sleep": lambda seconds: None,
            "parallel": 1,
            "confirm_seconds": 30.0,
        }
        self.running = Engine(Settings(**{**chosen, **settings}))
        return self.running


SITES: set[str] = set()
"""Every place of the code from which an fsync was asked for."""
LEFT_OUT: dict[str, str] = {}
"""site: the place whose fsync is left out."""


def call_site(verb: str) -> str:
    """From the fsync outwards to the first function that is neither of skepd.files nor the journal's own writer."""
    frame: FrameType | None = sys._getframe(3)
    names = [verb]
    while frame is not None:
        name = frame.f_code.co_name
        names.append(name)
        if name == "phase":
            names.append(frame.f_locals["phase"])
        if name not in ("replace", "discard", "_line"):
            break
        frame = frame.f_back
    return " < ".join(names)


class LifeHost:
    """The machine's host, as one run of skepd sees it."""

    def __init__(self, life: Life) -> None:
        self._life, self._host = life, life.machine.host

    def hello(self) -> v.HelloReading:
        self._life.check()
        return self._host.hello()

    def perform(self, requests: Sequence[Any], progress: Progress | None = None) -> tuple[Any, ...]:
        answers = []
        for index, request in enumerate(requests):
            try:
                answers.append(self._one(request, progress))
            except HostError as error:
                raise HostError(error.code, error.message, type(request).__name__, index) from None
        return tuple(answers)

    def _one(self, request: Any, progress: Progress | None) -> Any:
        name = type(request).__name__
        if isinstance(request, READS):
            self._life.check()
            return self._host.perform((request,), progress)[0]
        # Under one lock: nothing of a life happens after its death in another thread.
        with self._life.lock:
            self._life.tick(f"before {name}")
            try:
                (answer,) = self._host.perform((request,), progress)
            finally:
                self._life.machine.folder_moved(request)
            self._life.tick(f"after {name}")
            return answer

    def open(self, request: Any) -> tuple[Any, int]:
        with self._life.lock:
            self._life.tick(f"before {type(request).__name__}")
            return self._host.open(request)

    def cancel(self) -> None:
        self._life.check()
        self._host.cancel()

    def close(self) -> None: ...


class LifeFiles:
    """The machine's files, as one run of skepd sees them."""

    def __init__(self, life: Life) -> None:
        self._life, self._files = life, life.machine.files

    def read(self, path: Path) -> bytes:
        self._life.check()
        return self._files.read(path)

    def names(self, folder: Path) -> list[str]:
        self._life.check()
        return self._files.names(folder)

    def write(self, path: Path, data: bytes) -> None:
        if GUESTS in path.parents and path.relative_to(GUESTS).parts[0] not in self._life.machine.host.storage.folders:
            raise FileNotFoundError(f"{path}: the guest has no folder")
        self._change("write", path, lambda: self._files.write(path, data))

    def append(self, path: Path, data: bytes) -> None:
        self._change("append", path, lambda: self._files.append(path, data))

    def fsync(self, path: Path) -> None:
        self._change("fsync", path, self._life.unless_left_out("fsync", lambda: self._files.fsync(path)))

    def rename(self, source: Path, target: Path) -> None:
        self._change("rename", target, lambda: self._files.rename(source, target))

    def remove(self, path: Path) -> None:
        self._change("remove", path, lambda: self._files.remove(path))

    def fsync_folder(self, folder: Path) -> None:
        act = self._life.unless_left_out("fsync_folder", lambda: self._files.fsync_folder(folder))
        self._change("fsync_folder", folder, act)

    def _change(self, verb: str, path: Path, act: Callable[[], None]) -> None:
        with self._life.lock:
            self._life.tick(f"{verb} {path}")
            act()


def pull(host: Host, name: str, version: str, sources: Iterable[str], **_: Any) -> None:
    """A pull that has its image at once."""
    key = v.OpenImageWriter(image=name, version=version, format="qcow2", size=GIB)
    (storage,) = host.perform((v.ReadStorage(),))
    if any((image.image, image.version) == (name, version) for image in storage.images):
        return
    _, descriptor = host.open(key)
    os.close(descriptor)
    host.perform((v.PublishImage(image=name, version=version, format="qcow2", digest="0" * 64),))


def observe(machine: Machine) -> Observed:
    return Observed.of(machine.host.perform(READINGS))


def state_of(machine: Machine) -> dict[str, Any]:
    """Definitions and the observed host, but for process ids, times, and whether a guest still ran at a snapshot."""
    seen = observe(machine)
    folders = [
        replace(one, snapshots=tuple(replace(shot, created=0.0, frozen=False) for shot in one.snapshots))
        for one in seen.storage.folders
    ]
    return {
        "files": {str(path): machine.files.read(path).decode(errors="replace") for path in machine.paths()},
        "folders": {folder.guest: folder for folder in folders},
        "contents": {
            (guest, disk.name): disk.content
            for guest, folder in machine.host.storage.folders.items()
            for disk in folder.disks.values()
        },
        "images": seen.storage.images,
        "trash": seen.storage.trash,
        "networks": seen.networks,
        "guests": {guest.name: (guest.state, guest.digest) for guest in seen.guests if guest.state == "running"},
    }


def finished(engine: Engine, operation: Operation) -> Operation:
    """The operation when its thread has ended, by its end or by the death of this skepd."""
    join(operation)
    return engine.operation(operation.id)


def join(operation: Operation | None = None) -> None:
    """Wait for the threads of an operation, or of all of them."""
    for thread in threading.enumerate():
        if thread.name.startswith("op-") and (operation is None or thread.name == f"op-{operation.id}"):
            thread.join(60.0)
            assert not thread.is_alive(), thread.name


def define(kind: str, text: str) -> Object:
    return parse_object(Kind(kind), text, f"{kind}.toml")
