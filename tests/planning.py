"""What tests of plans share: a small world, a trivial executor, and what is compared of a host."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from skep_helper.vocabulary import FolderReading, GuestReading
from skepd.host import Host
from skepd.model.definitions import parse_object
from skepd.model.desired import Desired
from skepd.model.names import Ref
from skepd.model.objects import (
    Boot,
    CloudInit,
    Disk,
    Filter,
    Guest,
    Image,
    Leg,
    Network,
    Nic,
    Port,
    Router,
    Rule,
    Subnet,
)
from skepd.plan import Cache, Observed, Plan, PlanOptions, Step, plan
from skepd.plan.observed import READINGS
from skepd.plan.steps import AwaitGate, PullImage
from skepd.platform.sim import SimHost

GIB = 1 << 30
MIB = 1 << 20


@dataclass
class World:
    """A simulated host, the store of definitions as texts, and the planner's cache."""

    host: SimHost = field(default_factory=SimHost)
    texts: dict[Ref, str] = field(default_factory=dict)
    cache: Cache = field(default_factory=Cache)

    @property
    def stored(self) -> Desired:
        """The definitions in the store, as the engine would read them."""
        parts: dict[str, dict[str, Any]] = {}
        for ref, text in self.texts.items():
            parts.setdefault(f"{ref.kind}s", {})[ref.name] = parse_object(ref.kind, text, f"{ref}.toml")
        return Desired(**parts)

    def plan(self, after: Desired | None = None, **options: Any) -> Plan:
        before = self.stored
        after = before if after is None else after
        return plan(before, after, observe(self.host), self.host.facts(), PlanOptions(**options), cache=self.cache)

    def carry_out(self, plan: Plan, steps: int | None = None) -> list[Step]:
        """All steps, or the first few, in order; returns those done."""
        done = list(plan.steps[:steps])
        for step in done:
            self._do(step)
        return done

    def undo(self, done: list[Step]) -> None:
        for step in reversed(done):
            if step.text is not None:
                self._write(step.text.ref, step.text.before)
            if step.undo:
                self.host.perform(step.undo)

    def apply(self, after: Desired, **options: Any) -> Plan:
        made = self.plan(after, **options)
        assert not [note for note in made.notes if note.refuses], made.notes
        self.carry_out(made)
        return made

    def _do(self, step: Step) -> None:
        contents = [bool(step.requests), step.work is not None, step.text is not None]
        assert contents.count(True) == 1, step
        if step.requests:
            self.host.perform(step.requests)
        if step.text is not None:
            self._write(step.text.ref, step.text.after)
        if isinstance(step.work, PullImage):
            self._pull(step.work)
        if isinstance(step.work, AwaitGate):
            state = {guest.name: guest.state for guest in observe(self.host).guests}
            assert state[step.work.guest] == "running"

    def _pull(self, work: PullImage) -> None:
        if (work.image, work.version) not in observe(self.host).image_of:
            self.host.add_image(work.image, work.version, GIB)

    def _write(self, ref: Ref, text: str | None) -> None:
        if text is None:
            self.texts.pop(ref, None)
        else:
            self.texts[ref] = text


def observe(host: Host) -> Observed:
    return Observed.of(host.perform(READINGS))


def comparable(observed: Observed) -> dict[str, Any]:
    """What an undone plan must have left as it was: all but images, sizes (a disk never shrinks), process ids and
    times, and the seeds of guests (there is no request that removes one)."""

    def folder(reading: FolderReading) -> FolderReading:
        disks = tuple(replace(disk, size=0, allocated=0) for disk in reading.disks)
        return replace(reading, disks=disks, seed_digest="")

    def guest(reading: GuestReading) -> tuple[str, str]:
        return reading.name, reading.digest

    return {
        "folders": tuple(folder(reading) for reading in observed.storage.folders),
        "trash": observed.storage.trash,
        "networks": observed.networks,
        "guests": [guest(reading) for reading in observed.guests if reading.state == "running"],
    }


def small_site() -> Desired:
    """A nat network and an isolated one, a gateway on both, a file server behind it with two disks."""
    keys = ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMqu8Ud5GHpsWbeNHdpNOG2FKqsQ9PNSDHyaDUJYDSoq anna@example",)
    web = Filter(name="web", rules=(Rule(direction="in", protocol="tcp", ports="80"),))
    peers = Filter(name="peers", rules=(Rule(direction="in", protocol="tcp", ports="8000-8100", group="peers"),))
    wan = Network(name="wan", kind="nat", subnets=(_subnet("10.1.0", "10.1.0.1"),))
    lan = Network(name="lan", subnets=(_subnet("10.2.0", "10.2.0.10"),))
    ports = (
        Port(name="gateway.wan", network="wan", guest="gateway", addresses=("10.1.0.10",), filters=("web",)),
        Port(name="gateway.lan", network="lan", guest="gateway", addresses=("10.2.0.10",)),
        Port(name="files.lan", network="lan", guest="files", addresses=("10.2.0.20",), filters=("peers", "web")),
    )
    gateway = Guest(
        name="gateway",
        disks=(Disk(name="system", image="small"),),
        nics=(Nic(port="gateway.wan"), Nic(port="gateway.lan")),
        cloud_init=CloudInit(user="anna", ssh_keys=keys, commands=("sysctl -w net.ipv4.ip_forward=1",)),
        boot=Boot(order=10),
    )
    files = Guest(
        name="files",
        disks=(Disk(name="system", image="small"), Disk(name="data", size=2 * GIB)),
        nics=(Nic(port="files.lan"),),
        cloud_init=CloudInit(user="anna", ssh_keys=keys),
        boot=Boot(order=20, delay=1),
    )
    images = (Image(name="small", version="1", sources=("http://127.0.0.1:8000/",)),)
    return desired(*images, web, peers, wan, lan, *ports, gateway, files)


def _subnet(start: str, gateway: str) -> Subnet:
    return Subnet(prefix=f"{start}.0/24", own=f"{start}.1", gateway=gateway, first=f"{start}.100", last=f"{start}.199")


def router_between(name: str, *networks: str) -> Router:
    legs = tuple(Leg(network=network, addresses=(f"10.9.{i}.1/24",)) for i, network in enumerate(networks))
    return Router(name=name, legs=legs)


def desired(*values: Any) -> Desired:
    parts: dict[type, dict[str, Any]] = {kind: {} for kind in (Image, Filter, Network, Router, Port, Guest)}
    for value in values:
        parts[type(value)][value.name] = value
    images, filters, networks, routers, ports, guests = parts.values()
    return Desired(images=images, filters=filters, networks=networks, routers=routers, ports=ports, guests=guests)


def changed(before: Desired, *values: Any) -> Desired:
    """`before` with these objects put in place of those of their names."""
    return desired(*{(type(v), v.name): v for v in (*before, *values)}.values())


def without(before: Desired, *names: str) -> Desired:
    return desired(*(value for value in before if value.name not in names))
