"""An Engine in memory, as small as the contract allows: work ends at once, or when a test says so."""

from __future__ import annotations

import dataclasses
import itertools
import os
import socket
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from skep_helper.vocabulary import ReceiveSnapshot, ReplicaReading, SnapshotStream, VmBhyveReading
from skepd.adoption.adoption import Adoption, examine
from skepd.adoption.guests import Choices
from skepd.engine.contract import AdoptionPlan, Conflict, Event, Operation, Refused, StepState, Unknown, View
from skepd.model.desired import Desired, ref_of
from skepd.model.errors import DefinitionError
from skepd.model.facts import HostFacts
from skepd.model.names import Kind, Manager, Ref
from skepd.model.objects import Guest, Image, Object, Port
from skepd.plan.needs import Need
from skepd.plan.steps import Note, Plan, Step

ENDED = ("done", "failed", "cancelled", "undone")


def _plan(verb: str, ref: Ref) -> Plan:
    return Plan(steps=(Step(verb=verb, ref=ref, summary=f"{verb} {ref.kind} {ref.name}"),))


class FakeStream:
    """Of these bytes; or, with None, one that takes what comes."""

    def __init__(self, data: bytes | None) -> None:
        reader, writer = os.pipe()
        self.descriptor, self._other = (reader, writer) if data is not None else (writer, reader)
        self.size = len(data or b"")
        os.set_blocking(self.descriptor, False)
        if data is not None:
            os.write(writer, data)
            os.close(writer)
        else:
            threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        while os.read(self._other, 65536):
            """Nobody wants it."""
        os.close(self._other)

    def end(self) -> None:
        os.close(self.descriptor)


class FakeEngine:
    """hold: new operations stay running until `finish`. Everything else follows the contract."""

    def __init__(self) -> None:
        self.objects: dict[Ref, Object] = {}
        self.status: dict[Ref, dict[str, Any]] = {}
        self.work: dict[str, Operation] = {}
        self.happened: list[Event] = []
        self.actions: list[tuple[str, str, dict[str, Any]]] = []
        self.lines: list[socket.socket] = []
        self.writers: set[str] = set()
        self.foreign = VmBhyveReading()
        self.listeners: list[Callable[[Event], None]] = []
        self.hold = False
        self.confirming = False
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)

    # --- reading ---
    def facts(self) -> HostFacts:
        return HostFacts(
            platform="sim", hostname="hive", boot_id="b", cpus=4, memory=8 << 30, disk_format="qcow2", uplinks=("igb0",)
        )

    def host_status(self) -> dict[str, Any]:
        return {"name": "hive", "platform": "sim", "guests": {"running": 1, "defined": 2}, "problems": []}

    def inventory(self) -> dict[str, Any]:
        smart = {"health": "passed", "worn": 3}
        drive = {"name": "ada0", "size": 512 << 30, "model": "Flash", "serial": "S1", "smart": smart}
        return {"machine": "Maker Box", "memory": 8 << 30, "cpu": {"model": "fast", "threads": 4}, "drives": [drive]}

    def doctor(self) -> list[dict[str, Any]]:
        return [
            {"name": "bridge", "works": True, "reason": "", "advice": ""},
            {"name": "vlan", "works": False, "reason": "no 8021q in this kernel", "advice": "use another kernel"},
        ]

    def views(self, kind: str) -> list[View]:
        return [self.view(ref) for ref in sorted(self.objects) if ref.kind.value == kind]

    def view(self, ref: Ref) -> View:
        if ref not in self.objects:
            raise Unknown(f"there is no {ref.kind.value} {ref.name!r}")
        value = self.objects[ref]
        state = self.status.get(ref, {"state": "running" if isinstance(value, Guest) else "present"})
        return View(object=value, etag=f"{hash(value) & 0xFFFFFFFF:08x}", status=state)

    def prepare(self, text: str, file: str, *, check: bool = False) -> tuple[Need, ...]:
        if "[host]" not in text:
            raise DefinitionError("the section [host] is missing", "write [host]", file, 1)
        states = ("present", "missing") if check else ("", "")
        line, section = 'zfs_enable="YES"', "[skep_bhyve=19999]\nadd hide"
        return (
            Need(place="/etc/rc.conf", line=line, reason="pools at boot", state=states[0]),
            Need(place="/etc/devfs.rules", line=section, reason="by hand", state=states[1], found="is not there"),
        )

    # --- changing ---
    def put(self, value: Object, *, manager: Manager, etag: str | None = None, take_over: bool = False) -> Operation:
        ref = ref_of(value)
        self._check(ref, manager, etag, take_over)
        if value.name.startswith("bad"):
            raise DefinitionError("the name is bad", "take another one")
        if isinstance(value, Guest) and value.memory > 8 << 30:
            raise Refused("the host has 8 GiB of memory")
        if isinstance(value, Port) and value.network == "none":
            raise DefinitionError('there is no network "none"')
        self.objects[ref] = value
        self._event("object.changed", str(ref))
        return self._begin(f"define {ref}", manager)

    def delete(self, ref: Ref, *, manager: Manager, etag: str | None = None, take_over: bool = False) -> Operation:
        self.view(ref)
        self._check(ref, manager, etag, take_over)
        del self.objects[ref]
        if ref.kind is Kind.GUEST:
            self.objects = {
                key: value for key, value in self.objects.items() if getattr(value, "guest", "") != ref.name
            }
        return self._begin(f"delete {ref}", manager)

    def _check(self, ref: Ref, manager: Manager, etag: str | None, take_over: bool) -> None:
        there = self.objects.get(ref)
        if etag == "*" and there:
            raise Conflict(f"{ref} exists")
        if etag not in (None, "*") and (there is None or self.view(ref).etag != etag):
            raise Conflict(f"{ref} changed")
        if there and there.manager != manager and not take_over:
            raise Conflict(f"{ref} has the manager {there.manager}")

    def guest_action(self, name: str, action: str, options: dict[str, Any]) -> Operation:
        ref = Ref(Kind.GUEST, name)
        status = dict(self.view(ref).status)
        self.actions.append((name, action, options))
        if action in ("start", "stop"):
            status["state"] = "running" if action == "start" else "stopped"
        if action == "snapshot":
            entry = {"name": options["snapshot"], "created": 1.0, "frozen": options["quiesce"], "disks": ["root"]}
            status["snapshots"] = [*status.get("snapshots", []), entry]
        if action == "remove-snapshot":
            kept = [entry for entry in status.get("snapshots", []) if entry["name"] != options["snapshot"]]
            status["snapshots"] = kept
        self.status[ref] = status
        return self._begin(f"{action} guest {name}", Manager.USER)

    def put_all(self, values: Sequence[tuple[Object, str | None]], *, manager: Manager, take_over: bool) -> Operation:
        for value, etag in values:
            self._check(ref_of(value), manager, etag, take_over)
        begun = [self.put(value, manager=manager, etag=etag, take_over=take_over) for value, etag in values]
        return begun[-1]

    def plan_put_all(self, values: Sequence[tuple[Object, str | None]], *, manager: Manager, take_over: bool) -> Plan:
        for value, etag in values:
            self._check(ref_of(value), manager, etag, take_over)
        return _plan("define", ref_of(values[0][0]))

    def changes(self, guest: str, snapshot: str) -> dict[str, Any]:
        view = self.view(Ref(Kind.GUEST, guest))
        if snapshot not in [one["name"] for one in view.status.get("snapshots", ())]:
            raise Unknown(f"guest {guest} has no snapshot {snapshot!r}")
        disks = {"root": {"written": 65536, "grown": 0}}
        return {"since": 1.0, "disks": disks, "newer": ["later"], "definition": ["-memory = 1"]}

    def plan_put(self, value: Object, *, manager: Manager, etag: str | None = None, take_over: bool = False) -> Plan:
        self._check(ref_of(value), manager, etag, take_over)
        return _plan("define", ref_of(value))

    def plan_delete(self, ref: Ref, *, manager: Manager, etag: str | None = None, take_over: bool = False) -> Plan:
        self.view(ref)
        self._check(ref, manager, etag, take_over)
        return _plan("delete", ref)

    def plan_action(self, name: str, action: str, options: dict[str, Any]) -> Plan:
        self.view(Ref(Kind.GUEST, name))
        return _plan(action, Ref(Kind.GUEST, name))

    def plan_site(self, text: str, file: str) -> Plan:
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise DefinitionError("this is not TOML", str(error), file=file, line=1) from None
        names = tables.get("guest", {})
        steps = tuple(
            Step(verb="create", ref=Ref(Kind.GUEST, name), summary=f"create guest {name}")
            for name in names
            if Ref(Kind.GUEST, name) not in self.objects
        )
        notes = (Note(ref=None, text="schedules: not built yet", refuses=True),) if "schedule" in tables else ()
        return Plan(steps=steps, notes=notes, confirm=self.confirming)

    def apply_site(self, text: str, file: str, *, restart: bool = False) -> Operation:
        plan = self.plan_site(text, file)
        if any(note.refuses for note in plan.notes):
            raise Refused("schedules: not built yet; remove the section")
        for step in plan.steps:
            self.objects[step.ref] = Guest(name=step.ref.name)
        operation = self._begin(f"apply {file}", Manager.SITE)
        if self.confirming:
            operation = self._set(operation, state="confirming", ended=0.0, confirm_before=time.time() + 120)
        return operation

    def export(self) -> str:
        return "".join(f"[guest.{ref.name}]\n" for ref in sorted(self.objects) if ref.kind is Kind.GUEST)

    def quiesce(self) -> Operation:
        self.actions.append(("host", "down", {}))
        return self._begin("take everything down", Manager.SITE)

    # --- guests of vm-bhyve ---
    def plan_adoption(self, names: tuple[str, ...], choices: Choices) -> AdoptionPlan:
        return AdoptionPlan(found=self._foreign(names, choices), plan=Plan())

    def adopt(self, names: tuple[str, ...], choices: Choices) -> Operation:
        for one in self._foreign(names, choices).possible:
            assert one.guest is not None
            self.objects[ref_of(one.guest)] = one.guest
        return self._begin("adopt from vm-bhyve", Manager.USER)

    def plan_return(self, names: tuple[str, ...]) -> Plan:
        return Plan(notes=tuple(Note(ref=Ref(Kind.GUEST, name), text=f"guest {name} goes back") for name in names))

    def give_back(self, names: tuple[str, ...]) -> Operation:
        for name in names:
            if self.objects.pop(Ref(Kind.GUEST, name), None) is None:
                raise Unknown(f"there is no adopted guest {name!r}")
        return self._begin("give back to vm-bhyve", Manager.USER)

    def _foreign(self, names: tuple[str, ...], choices: Choices) -> Adoption:
        found = examine(self.foreign, Desired(), {}, names, choices)
        if found.unknown:
            raise Unknown(f"vm-bhyve has no guest {found.unknown[0][0]!r}")
        return found

    # --- operations ---
    def operations(self, limit: int = 100) -> list[Operation]:
        return list(reversed(self.work.values()))[:limit]

    def operation(self, identity: str) -> Operation:
        try:
            return self.work[identity]
        except KeyError:
            raise Unknown(f"there is no operation {identity!r}") from None

    def cancel(self, identity: str) -> Operation:
        operation = self.operation(identity)
        if operation.state in ENDED:
            raise Refused(f"operation {identity} has ended already")
        return self._set(operation, state="cancelled", ended=time.time())

    def confirm(self, identity: str) -> Operation:
        operation = self.operation(identity)
        if operation.state != "confirming":
            raise Refused(f"operation {identity} does not wait for a confirmation")
        return self._set(operation, state="done", ended=time.time())

    def wait(self, identity: str, timeout: float) -> Operation:
        with self._changed:
            self._changed.wait_for(lambda: self.operation(identity).state in ENDED, timeout)
        return self.operation(identity)

    def finish(self, identity: str, state: str = "done", error: str = "") -> None:
        steps = tuple(dataclasses.replace(step, state="done") for step in self.operation(identity).steps)
        self._set(self.operation(identity), state=state, ended=time.time(), error=error, steps=steps)

    def _begin(self, title: str, manager: Manager) -> Operation:
        number = next(self._numbers)
        state, ended = ("running", 0.0) if self.hold else ("done", time.time())
        steps = (StepState(summary=title, state=state, done=1, total=2),)
        operation = Operation(
            id=f"op{number}", title=title, state=state, manager=manager, created=time.time(), ended=ended, steps=steps
        )
        self.work[operation.id] = operation
        self._event("operation.started", operation.id)
        return operation

    def _set(self, operation: Operation, **changes: Any) -> Operation:
        changed = dataclasses.replace(operation, **changes)
        with self._changed:
            self.work[operation.id] = changed
            self._changed.notify_all()
        self._event("operation.ended" if changed.state in ENDED else "operation.progress", operation.id)
        return changed

    # --- events ---
    def _event(self, kind: str, ref: str, **data: Any) -> None:
        with self._changed:
            event = Event(number=len(self.happened) + 1, time=time.time(), kind=kind, ref=ref, data=data)
            self.happened.append(event)
            self._changed.notify_all()

    def events(self, after: int, timeout: float) -> Iterator[Event]:
        with self._changed:
            self._changed.wait_for(lambda: len(self.happened) > after, timeout)
            found = self.happened[max(after, 0) :]
        yield from found

    def listen(self, listener: Callable[[Event], None]) -> None:
        self.listeners.append(listener)

    def tell(self, kind: str, **data: Any) -> None:
        for listener in self.listeners:
            listener(Event(number=0, time=time.time(), kind=kind, ref="host", data=data))

    # --- what is used ---
    def exposition(self) -> str:
        return "# HELP skep_info Always 1.\n# TYPE skep_info gauge\nskep_info 1\n"

    def health(self) -> dict[str, Any]:
        problem = {"severity": "error", "ref": "disk/ada0", "text": "ada0 fails", "advice": "replace it"}
        lists: dict[str, Any] = {key: [] for key in ("pools", "disks", "uplinks", "snapshots", "operations")}
        tables: dict[str, Any] = {key: {} for key in ("host", "memory", "time", "guests")}
        return {"state": "error", "problems": [problem], **lists, **tables, "machine_age": None}

    def metrics(self, guest: str | None, span: int) -> dict[str, Any]:
        if guest is not None:
            self.view(Ref(Kind.GUEST, guest))
        return {"start": 1000.0, "step": 15, "series": {"cpu": [None, 0.5], "memory": [None, 1024.0]}}

    # --- lines ---
    def open_console(self, guest: str, *, writer: bool, take: bool, offset: int | None = None) -> tuple[int, int]:
        self._running(guest)
        if writer and guest in self.writers and not take:
            raise Conflict(f"another one writes to the console of {guest}")
        if writer:
            self.writers.add(guest)
        return self._line(b"history\r\n"), 0

    def open_screen(self, guest: str) -> int:
        self._running(guest)
        return self._line(b"RFB 003.008\n")

    def stop(self, guest: str) -> None:
        """The guest ends, and its lines with it."""
        self.status[Ref(Kind.GUEST, guest)] = {"state": "stopped"}
        for line in self.lines:
            line.close()

    def _running(self, guest: str) -> None:
        if self.view(Ref(Kind.GUEST, guest)).status["state"] != "running":
            raise Refused(f"guest {guest} does not run; start it first")

    def _line(self, greeting: bytes) -> int:
        ours, theirs = socket.socketpair()
        ours.sendall(greeting)
        self.lines.append(ours)
        return theirs.detach()

    # --- guests that move ---
    def send_snapshot(self, stream: SnapshotStream) -> FakeStream:
        self.view(Ref(Kind.GUEST, stream.guest))
        return FakeStream(b"a stream")

    def receive_snapshot(self, request: ReceiveSnapshot) -> FakeStream:
        if Ref(Kind.GUEST, request.guest) in self.objects:
            raise Conflict(f"there is a guest {request.guest} already: import it under another name")
        return FakeStream(None)

    def replica(self, guest: str) -> ReplicaReading:
        return ReplicaReading(guest=guest, promoted_here=False)

    def abandon_replica(self, guest: str, disk: str | None) -> None:
        """There is none."""

    def promote_replica(self, guest: Guest, ports: tuple[Port, ...]) -> Operation:
        return self._begin(f"import guest {guest.name}", Manager.USER)

    def console_history(self, guest: str, offset: int, length: int) -> tuple[int, bytes]:
        self.view(Ref(Kind.GUEST, guest))
        data = b"0123456789\xff"
        begin = max(len(data) - length, 0) if offset < 0 else min(offset, len(data))
        return begin, data[begin : begin + length]

    def pull_image(self, name: str, version: str, sources: tuple[str, ...], *, manager: Manager) -> Operation:
        image = Image(name=name, version=version, sources=sources, manager=manager)
        self.objects[Ref(Kind.IMAGE, name)] = image
        return self._begin(f"pull image {name}", manager)
