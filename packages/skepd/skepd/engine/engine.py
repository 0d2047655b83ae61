"""The engine of one host: contract.Engine over a store, operations and a host."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skep_helper.vocabulary import (
    AbandonReceive,
    CompareSnapshot,
    HelloReading,
    InventoryReading,
    OpenConsole,
    OpenScreen,
    ReadConsole,
    ReadInventory,
    ReadVmBhyve,
    ReceiveSnapshot,
    ReplicaReading,
    SnapshotStream,
    UsageReading,
)

from skepd.adoption.adoption import Adoption
from skepd.adoption.guests import Choices
from skepd.files import Files
from skepd.host import Host, HostError
from skepd.model.checks import check
from skepd.model.definitions import render_object
from skepd.model.desired import Desired, ref_of
from skepd.model.errors import DefinitionErrors
from skepd.model.facts import HostFacts
from skepd.model.names import Kind, Manager, Ref
from skepd.model.objects import Guest, Image, Object, Port
from skepd.model.site import HostPart, HostSettings, Site
from skepd.model.site_checks import check_platform
from skepd.model.site_reader import parse_site
from skepd.model.site_writer import render_site
from skepd.plan.needs import Need
from skepd.plan.observed import READINGS, Observed
from skepd.plan.options import PlanOptions
from skepd.plan.steps import Note, Plan
from skepd.platform.preparing import prepare

from . import adopting, carrying, exposition, health, host_view, moving, overview
from .comparing import comparison
from .contract import AdoptionPlan, Conflict, Event, Operation, Refused, Unknown, View
from .events import Events
from .index import Index
from .live import Planned
from .moving import Moving
from .operations import Operations, Planner
from .ownership import with_site
from .planning import Planning, Wish
from .quiet import quieten
from .rings import FileShelf, MemoryShelf, Rings
from .sampler import FRESH, Sampler
from .slow import Slow
from .status import ALIVE, Status
from .store import PARTS, Store, without
from .watch import Watch
from .work import Pull

MACHINE_LIFE, PATIENCE = 600.0, 3.0
"""Seconds for which disks and pools are not looked at again, and that one waits for the first look at them."""


@dataclass(kw_only=True)
class Settings:
    """state: folder of definitions and journals. pool_guests: where guests' definitions lie.

    connect: a new connection to the host; the engine keeps one for reading and opens one for each operation.
    read_facts: what the platform knows of this host. index: SQLite file, metrics: folder of
    samples; None for memory.
    """

    files: Files
    state: Path
    pool_guests: Path
    connect: Callable[[], Host]
    read_facts: Callable[[HelloReading], HostFacts]
    pull: Pull
    version: str
    index: Path | None = None
    metrics: Path | None = None
    parallel: int = 4
    sleep: Callable[[float], None] = time.sleep
    confirm_seconds: float = carrying.CONFIRM_SECONDS
    clock: Callable[[], float] = time.time


class Engine:
    """See contract.Engine for what the methods promise."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._host = settings.connect()
        self._hello = self._host.hello()
        self._facts = settings.read_facts(self._hello)
        self._store = Store(settings.files, settings.state, settings.pool_guests)
        self._index = Index(settings.index, settings.clock)
        self._events = Events(self._index, settings.clock)
        self._started = settings.clock()
        self._operations = Operations(
            carrying.Settings(
                files=settings.files,
                journals=settings.state / "journals",
                site=settings.state / "site.toml",
                connect=settings.connect,
                pull=settings.pull,
                boot_id=self._hello.boot_id,
                parallel=settings.parallel,
                sleep=settings.sleep,
                clock=settings.clock,
                confirm_seconds=settings.confirm_seconds,
            ),
            self._store,
            self._index,
            self._events,
        )
        self._planning = Planning(self._store, self._operations, self.observe, self._facts)
        self._store.listen(lambda ref, exists: self._events.emit("object.changed", ref, exists=exists))
        self._store.listen(self._forget)
        rings = Rings(FileShelf(settings.metrics) if settings.metrics else MemoryShelf())
        self._sampler = Sampler(self._host, self._store, self._events, rings, settings.clock)
        self._machine = Slow(self._read_machine, MACHINE_LIFE)
        self._watch = Watch(self._host, self._events, self._operations, self._repair_plan)

    # --- life -----------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Finish what a crash cut off, then bring the host to what is defined (at boot: start the guests)."""
        self._operations.recover()
        self._watch.look()
        self._watch.repair()

    def start(self) -> None:
        """Begin to watch the host."""
        self._watch.start()
        self._sampler.start()

    def close(self) -> None:
        self._watch.close()
        self._sampler.close()
        self._operations.close()
        self._watch.join()
        self._sampler.join()
        self._events.close()
        self._index.close()
        self._host.close()

    def _forget(self, ref: Ref, exists: bool) -> None:
        if ref.kind is Kind.GUEST and not exists:
            self._index.forget_definitions(ref.name)

    # --- reading --------------------------------------------------------------------------------------------------

    def facts(self) -> HostFacts:
        return self._facts

    def observe(self) -> Observed:
        return Observed.of(self._host.perform(READINGS))

    def host_status(self) -> dict[str, Any]:
        return host_view.host_status(
            self._facts,
            self._settings.version,
            self._started,
            self._store.desired,
            self.observe(),
            self._watch.problems,
        )

    def _read_machine(self) -> InventoryReading:
        (found,) = self._host.perform((ReadInventory(),))
        assert isinstance(found, InventoryReading)
        return found

    def inventory(self) -> dict[str, Any]:
        return health.inventory(self._read_machine())

    def doctor(self) -> list[dict[str, Any]]:
        broken = {f"definition {ref}": reason for ref, reason in self._store.broken.items()}
        observed, leftovers = self.observe(), self._operations.leftovers()
        found = host_view.doctor(self._host.hello(), broken, leftovers, observed, self._watch.problems)
        running = sum(reading.state in ALIVE for reading in observed.guests)
        return found + health.checks(self._read_machine(), running)

    def health(self) -> dict[str, Any]:
        return overview.overview(self._overview(self._sampler.recent()))

    def exposition(self) -> str:
        return exposition.exposition(self._overview(self._sampler.recent(FRESH)))

    def _overview(self, usage: UsageReading | None) -> overview.View:
        observed, store = self.observe(), self._store
        return overview.View(
            facts=self._facts,
            version=self._settings.version,
            started=self._started,
            now=self._settings.clock(),
            folder=str(self._settings.pool_guests.parent),
            desired=store.desired,
            observed=observed,
            usage=usage,
            machine=self._machine.get(PATIENCE),
            operations=tuple(self._operations.list(100)),
            broken=store.broken,
            leftovers=self._operations.leftovers(),
            problems=self._watch.problems,
        )

    def views(self, kind: str) -> list[View]:
        desired, observed = self._store.desired, self.observe()
        with self._planning.lock:
            status = Status(desired, observed, self._planning.cache)
            part: dict[str, Object] = getattr(desired, PARTS[Kind(kind)])
            return [
                View(object=value, etag=self._store.etag(value), status=status.of(value))
                for _, value in sorted(part.items())
            ]

    def view(self, ref: Ref) -> View:
        value, observed = self._planning.object(ref), self.observe()
        with self._planning.lock:
            status = Status(self._store.desired, observed, self._planning.cache).of(value)
        return View(object=value, etag=self._store.etag(value), status=status)

    # --- changing -------------------------------------------------------------------------------------------------

    def put(self, value: Object, *, manager: Manager, etag: str | None = None, take_over: bool = False) -> Operation:
        return self._submit(self._planning.putting(value, manager, etag, take_over))

    def put_all(self, values: Sequence[tuple[Object, str | None]], *, manager: Manager, take_over: bool) -> Operation:
        return self._submit(self._planning.putting_all(values, manager, take_over))

    def plan_put_all(self, values: Sequence[tuple[Object, str | None]], *, manager: Manager, take_over: bool) -> Plan:
        return self._planning.rehearse(self._planning.putting_all(values, manager, take_over).planner)

    def delete(self, ref: Ref, *, manager: Manager, etag: str | None = None, take_over: bool = False) -> Operation:
        return self._submit(self._planning.deleting(ref, manager, etag, take_over))

    def guest_action(self, name: str, action: str, options: dict[str, Any]) -> Operation:
        operation = self._submit(self._planning.acting(name, action, options))
        if action == "snapshot":
            text = render_object(self._planning.object(Ref(Kind.GUEST, name)))
            self._index.keep_definition(name, options["snapshot"], text)
        return operation

    def changes(self, guest: str, snapshot: str) -> dict[str, Any]:
        value = self._planning.object(Ref(Kind.GUEST, guest))
        folder = self.observe().folder_of.get(guest)
        taken = {one.snapshot: one for one in folder.snapshots} if folder else {}
        if snapshot not in taken:
            raise Unknown(f"guest {guest} has no snapshot {snapshot!r}: it has {', '.join(sorted(taken)) or 'none'}")
        (reading,) = self._host.perform((CompareSnapshot(guest=guest, snapshot=snapshot),))
        before = self._index.definition(guest, snapshot)
        return comparison(taken[snapshot], reading, before, render_object(value))

    def plan_put(self, value: Object, *, manager: Manager, etag: str | None = None, take_over: bool = False) -> Plan:
        return self._planning.rehearse(self._planning.putting(value, manager, etag, take_over).planner)

    def plan_delete(self, ref: Ref, *, manager: Manager, etag: str | None = None, take_over: bool = False) -> Plan:
        return self._planning.rehearse(self._planning.deleting(ref, manager, etag, take_over).planner)

    def plan_action(self, name: str, action: str, options: dict[str, Any]) -> Plan:
        return self._planning.rehearse(self._planning.acting(name, action, options).planner)

    def pull_image(self, name: str, version: str, sources: tuple[str, ...], *, manager: Manager) -> Operation:
        return self.put(Image(name=name, version=version, sources=sources, manager=manager), manager=manager)

    def _submit(self, wish: Wish) -> Operation:
        self._planning.rehearse(wish.planner)
        return self._operations.submit(*wish)

    def _repair_plan(self) -> Planned:
        return self._planning.planner(lambda before: before)()

    # --- the site -------------------------------------------------------------------------------------------------

    def plan_site(self, text: str, file: str) -> Plan:
        site = self._site(text, file)
        found = self._planning.planner(lambda before: with_site(before, site.desired))().plan
        return replace(found, notes=(*_not_built(site), *found.notes))

    def apply_site(self, text: str, file: str, *, restart: bool = False) -> Operation:
        site = self._site(text, file)
        unbuilt = _not_built(site)
        if unbuilt:
            raise Refused("; ".join(note.text for note in unbuilt) + ": remove these sections to apply the rest")

        make = self._planning.planner(lambda before: with_site(before, site.desired), PlanOptions(restart=restart))
        self._planning.rehearse(make)
        owned = (value for value in self._store.desired if value.manager is Manager.SITE)
        intent = frozenset(ref_of(value) for value in (*site.desired, *owned))
        return self._operations.submit(f"apply {file}", Manager.SITE, lambda: replace(make(), site=text), intent)

    def export(self) -> str:
        return render_site(self._store.desired, self._host_part())

    def prepare(self, text: str, file: str, *, check: bool = False) -> tuple[Need, ...]:
        return prepare(parse_site(text, file, self._others()), here=self._facts.platform, check=check)

    def _others(self) -> Desired:
        """What is not the site's."""
        others = self._store.desired
        for value in self._store.desired:
            if value.manager is Manager.SITE:
                others = without(others, ref_of(value))
        return others

    def _site(self, text: str, file: str) -> Site:
        site = parse_site(text, file, self._others())
        found = check_platform(site, self._facts) + check(with_site(self._store.desired, site.desired), self._facts)
        located = [site.locate(error) for error in found]
        if located:
            raise DefinitionErrors(located)
        return site

    def _host_part(self) -> HostPart:
        """Of the site file that was applied last; of this host alone when there was none."""
        try:
            text = self._settings.files.read(self._site_path).decode()
        except FileNotFoundError:
            return HostPart(host=HostSettings(name=self._facts.hostname))
        return parse_site(text, str(self._site_path), self._store.desired).host_part

    @property
    def _site_path(self) -> Path:
        return self._settings.state / "site.toml"

    def quiesce(self) -> Operation:
        self._watch.pause()
        everything = frozenset(ref_of(value) for value in self._store.desired)
        return self._operations.submit("take everything down", Manager.SITE, self._quiet, everything)

    def _quiet(self) -> Planned:
        found = self._planning.planner(lambda before: Desired())()
        return replace(found, plan=quieten(found.plan))

    # --- guests of vm-bhyve ---------------------------------------------------------------------------------------

    def plan_adoption(self, names: tuple[str, ...], choices: Choices) -> AdoptionPlan:
        found = self._find_foreign(names, choices)
        return AdoptionPlan(found=found, plan=self._adoption(found)().plan if found.possible else Plan())

    def adopt(self, names: tuple[str, ...], choices: Choices) -> Operation:
        found = self._find_foreign(names, choices)
        adopting.require(found, names)
        guests = ", ".join(one.name for one in found.possible)
        refs = {ref_of(value) for one in found.possible for value in (one.guest, *one.ports) if value is not None}
        refs |= {ref_of(network) for network in found.networks}
        title = f"adopt {guests} from vm-bhyve"
        return self._submit(Wish(title, Manager.USER, self._adoption(found), frozenset(refs)))

    def plan_return(self, names: tuple[str, ...]) -> Plan:
        return self._return(names)().plan

    def give_back(self, names: tuple[str, ...]) -> Operation:
        after, options = adopting.giving_back(self._store.desired, self.observe(), names)
        refs = {ref_of(value) for value in self._store.desired if value not in tuple(after)}
        words = ", ".join(sorted(options.give_back))
        title = f"give {words} back to vm-bhyve"
        return self._submit(Wish(title, Manager.USER, self._return(names), frozenset(refs)))

    def _find_foreign(self, names: tuple[str, ...], choices: Choices) -> Adoption:
        try:
            (reading,) = self._host.perform((ReadVmBhyve(),))
        except HostError as error:
            raise _as_refusal(error) from error
        return adopting.find(reading, self._store.desired, self.observe(), names, choices)

    def _adoption(self, found: Adoption) -> Planner:
        return self._planning.with_options(lambda before: adopting.taking(before, found))

    def _return(self, names: tuple[str, ...]) -> Planner:
        return self._planning.with_options(lambda before: adopting.giving_back(before, self.observe(), names))

    # --- guests that move -----------------------------------------------------------------------------------------

    def send_snapshot(self, stream: SnapshotStream) -> Moving:
        self._planning.object(Ref(Kind.GUEST, stream.guest))
        return moving.sending(self._settings.connect, stream)

    def receive_snapshot(self, request: ReceiveSnapshot) -> Moving:
        moving.require_new(self._store.desired, request.guest)
        return moving.receiving(self._settings.connect, request)

    def replica(self, guest: str) -> ReplicaReading:
        return moving.reading(self._host, guest)

    def abandon_replica(self, guest: str, disk: str | None) -> None:
        self._host.perform((AbandonReceive(guest=guest, disk=disk),))

    def promote_replica(self, guest: Guest, ports: tuple[Port, ...]) -> Operation:
        return self._submit(moving.importing(self._planning, guest, ports))

    # --- operations and events ------------------------------------------------------------------------------------

    def operations(self, limit: int = 100) -> list[Operation]:
        return self._operations.list(limit)

    def operation(self, identity: str) -> Operation:
        return self._operations.get(identity)

    def cancel(self, identity: str) -> Operation:
        return self._operations.cancel(identity)

    def confirm(self, identity: str) -> Operation:
        return self._operations.confirm(identity)

    def wait(self, identity: str, timeout: float) -> Operation:
        return self._operations.wait(identity, timeout)

    def events(self, after: int, timeout: float) -> Iterator[Event]:
        return self._events.after(after, timeout)

    def listen(self, listener: Callable[[Event], None]) -> None:
        self._events.listen(listener)

    # --- what is used ---------------------------------------------------------------------------------------------

    def metrics(self, guest: str | None, span: int) -> dict[str, Any]:
        return self._sampler.history(guest, span)

    # --- consoles -------------------------------------------------------------------------------------------------

    def open_console(self, guest: str, *, writer: bool, take: bool, offset: int | None = None) -> tuple[int, int]:
        self._planning.object(Ref(Kind.GUEST, guest))
        try:
            request = OpenConsole(guest=guest, writer=writer, take=take, offset=offset)
            answer, descriptor = self._host.open(request)
        except HostError as error:
            raise _as_refusal(error) from error
        return descriptor, int(answer["offset"])

    def open_screen(self, guest: str) -> int:
        self._planning.object(Ref(Kind.GUEST, guest))
        try:
            _, descriptor = self._host.open(OpenScreen(guest=guest))
        except HostError as error:
            raise _as_refusal(error) from error
        return descriptor

    def console_history(self, guest: str, offset: int, length: int) -> tuple[int, bytes]:
        self._planning.object(Ref(Kind.GUEST, guest))
        (answer,) = self._host.perform((ReadConsole(guest=guest, offset=offset, length=length),))
        return int(answer["offset"]), base64.b64decode(answer["data"])


def _not_built(site: Site) -> tuple[Note, ...]:
    return tuple(
        Note(ref=None, text=f"{site.source.file}:{line}: [{section}] is not built yet", refuses=True)
        for section, line in site.not_built
    )


def _as_refusal(error: HostError) -> Exception:
    return Conflict(error.message) if error.code in ("conflict", "busy") else Refused(error.message)


__all__ = ["Engine", "Settings"]
