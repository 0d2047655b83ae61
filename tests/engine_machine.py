"""Random lives of an engine on a simulated host, and what must hold whenever it is at rest."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import cache
from typing import Any

from engine_world import STATE, Life, Machine, define, finished, observe
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from skepd.engine.contract import Conflict, DefinitionError, Operation, Refused, Unknown
from skepd.engine.engine import Engine
from skepd.engine.operations import ENDED
from skepd.host import HostError
from skepd.model.checks import check
from skepd.model.names import Kind, Manager, Ref
from skepd.platform.sim import Died, Fault

REFUSALS = (Conflict, DefinitionError, HostError, Refused, Unknown)
GUESTS, NETWORKS, PORTS, FILTERS = ("a", "b", "c"), ("lan", "dmz"), ("p", "q", "r"), ("web", "all")
NAMES = {Kind.GUEST: GUESTS, Kind.NETWORK: NETWORKS, Kind.PORT: PORTS, Kind.FILTER: FILTERS, Kind.ROUTER: ("gate",)}
IMAGE = '[image.small]\nversion = "1"\nsources = "http://127.0.0.1:1/"\n'
SITES = (
    f'[host]\nname = "one"\n{IMAGE}',
    f'[host]\nname = "two"\nforwarding = true\n{IMAGE}[network.wan]\nkind = "nat"\nsubnet = "10.1.0.0/24"\n',
    f"""[host]
name = "three"
forwarding = true
{IMAGE}
[network.wan]
kind = "nat"
subnet = "10.1.0.0/24"
[network.inner]
[guest.s]
memory = "64M"
[[guest.s.disk]]
name = "system"
image = "small"
[[guest.s.disk]]
name = "data"
size = "1G"
[[guest.s.nic]]
name = "wan"
network = "wan"
[[guest.s.nic]]
name = "inner"
network = "inner"
""",
)
ACTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("start", {}),
    ("stop", {}),
    ("stop", {"timeout": 0, "force": True}),
    ("restart", {}),
    ("reset", {}),
    ("pause", {}),
    ("resume", {}),
    ("snapshot", {"snapshot": "x"}),
    ("rollback", {"snapshot": "x"}),
    ("rollback", {"snapshot": "x", "start": True}),
    ("remove-snapshot", {"snapshot": "x"}),
    ("clone", {"target": "c"}),
    ("grow", {"disk": "d0", "size": 3 << 30}),
)


GATE = 'name = "gate"\n' + "".join(
    f'[[leg]]\nnetwork = "{name}"\naddresses = "10.{number}.0.1/24"\n' for number, name in enumerate(NETWORKS)
)


@cache
def inhabited() -> Machine:
    """A machine where most names are taken, so that random changes meet something."""
    machine = Machine()
    engine = Life(machine).engine()
    engine.recover()
    values = [("network", f'name = "{name}"\n') for name in NETWORKS]
    values += [
        ("filter", f'name = "{name}"\nrules = ["in tcp 80", "in udp 53 from filter web"]\n') for name in ("web", "all")
    ]
    values += [("port", f'name = "{name}"\nnetwork = "lan"\nfilters = ["web", "all"]\n') for name in PORTS]
    values += [("router", GATE), ("guest", guest_text("a", 2, {"p", "q"})), ("guest", guest_text("b", 1, {"r"}))]
    for kind, text in values:
        ended = finished(engine, engine.put(define(kind, text), manager=Manager.USER))
        assert ended.state == "done", ended.error
    engine.close()
    return machine


def guest_text(name: str, disks: int, ports: set[str], power: str = "on", memory: str = "64M") -> str:
    text = f'name = "{name}"\nmemory = "{memory}"\npower = "{power}"\n'
    text += "".join(f'[[disk]]\nname = "d{number}"\nsize = "1G"\n' for number in range(disks))
    return text + "".join(f'[[nic]]\nport = "{port}"\n' for port in sorted(ports))


class EngineMachine(RuleBasedStateMachine):
    """Operations are begun without waiting for them; `rest` waits, restarts a dead skepd, and looks at everything."""

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.machine = inhabited().copy(seed=seed)
        self.latest = 0
        self.started: set[str] = set()
        self._start()

    def _start(self) -> None:
        self.life = Life(self.machine)
        self.engine: Engine = self.life.engine(parallel=3)
        self.engine.recover()

    def _ask(self, act: Any) -> None:
        try:
            operation: Operation = act()
            self.started.add(operation.id)
        except REFUSALS:
            return
        except Died:
            assert self.life.dead

    # --- what users do --------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NETWORKS), mtu=st.sampled_from((1400, 1500)))
    def put_network(self, name: str, mtu: int) -> None:
        self._put("network", f'name = "{name}"\nmtu = {mtu}\n')

    @rule(name=st.sampled_from(FILTERS), port=st.integers(80, 82), group=st.sampled_from(("", *FILTERS)))
    def put_filter(self, name: str, port: int, group: str) -> None:
        remote = f" from filter {group}" if group else ""
        self._put("filter", f'name = "{name}"\nrules = ["in tcp {port}{remote}"]\n')

    @rule(name=st.sampled_from(PORTS), network=st.sampled_from(NETWORKS), filters=st.sets(st.sampled_from(FILTERS)))
    def put_port(self, name: str, network: str, filters: set[str]) -> None:
        self._put("port", f'name = "{name}"\nnetwork = "{network}"\nfilters = {sorted(filters)!r}\n'.replace("'", '"'))

    @rule(legs=st.sets(st.sampled_from(NETWORKS), min_size=1))
    def put_router(self, legs: set[str]) -> None:
        texts = [f'[[leg]]\nnetwork = "{leg}"\naddresses = "10.{ord(leg[0])}.0.1/24"\n' for leg in sorted(legs)]
        self._put("router", 'name = "gate"\n' + "".join(texts))

    @rule(
        name=st.sampled_from(GUESTS),
        disks=st.integers(1, 2),
        ports=st.sets(st.sampled_from(PORTS), max_size=2),
        power=st.sampled_from(("on", "off")),
        memory=st.sampled_from(("64M", "96M")),
    )
    def put_guest(self, name: str, disks: int, ports: set[str], power: str, memory: str) -> None:
        self._put("guest", guest_text(name, disks, ports, power, memory))

    def _put(self, kind: str, text: str) -> None:
        self._ask(lambda: self.engine.put(define(kind, text), manager=Manager.USER))

    @rule(kind=st.sampled_from(sorted(NAMES)), number=st.integers(0, 2), cascade=st.booleans())
    def delete(self, kind: Kind, number: int, cascade: bool) -> None:
        names = NAMES[kind]
        manager = Manager.USER if cascade else Manager.SITE
        ref = Ref(kind, names[number % len(names)])
        self._ask(lambda: self.engine.delete(ref, manager=manager, take_over=not cascade))

    @rule(name=st.sampled_from((*GUESTS, "s")), action=st.sampled_from(ACTIONS))
    def act(self, name: str, action: tuple[str, dict[str, Any]]) -> None:
        self._ask(lambda: self.engine.guest_action(name, *action))

    @rule(site=st.sampled_from(SITES), restart=st.booleans())
    def apply_site(self, site: str, restart: bool) -> None:
        self._ask(lambda: self.engine.apply_site(site, "site.toml", restart=restart))

    @rule(which=st.integers(0, 9))
    def cancel(self, which: int) -> None:
        with suppress(Died, *REFUSALS):
            live = sorted(one.id for one in self.engine.operations() if one.state not in ENDED)
            if live:
                self.engine.cancel(live[which % len(live)])

    # --- what befalls them ----------------------------------------------------------------------------------------

    @rule(action=st.sampled_from(("fail", "full", "helper-dies-before", "helper-dies-after")), at=st.integers(1, 12))
    def fault(self, action: str, at: int) -> None:
        self.machine.host.faults.disarm()
        self.machine.host.arm(Fault(action=action, at=at))

    @rule(ticks=st.integers(1, 80), power=st.booleans())
    def die_soon(self, ticks: int, power: bool) -> None:
        self.life.power, self.life.die_at = power, len(self.life.labels) + ticks

    @rule(ending=st.sampled_from(("power-off", "error")), name=st.sampled_from(GUESTS))
    def guest_ends(self, ending: str, name: str) -> None:
        with suppress(HostError):
            self.machine.host.crash(name, ending)

    @rule(name=st.sampled_from(PORTS))
    def drift(self, name: str) -> None:
        self.machine.host.network.ports.pop(name, None)

    @rule()
    def watch(self) -> None:
        with suppress(Died, *REFUSALS):
            self.engine._watch.look()
            self.engine._watch.repair()

    # --- at rest --------------------------------------------------------------------------------------------------

    @rule()
    def rest(self) -> None:
        self.machine.host.faults.disarm()
        self.life.die_at = 0
        self._settle()
        if self.life.dead or self.engine._operations.leftovers():
            if not self.life.dead:
                self.engine.close()
            self._start()
        self.engine._watch._failed = ((), 0.0)
        self.engine._watch.repair()
        self._check_operations()
        self._check_host()
        self._check_files()
        if self.latest:
            numbers = [event.number for event in self.engine.events(self.latest, 0)]
            assert numbers == sorted(set(numbers))

    def _settle(self) -> None:
        """Wait for the threads of operations. Those that wait for one that died end with their process."""
        while any(thread.name.startswith("op-") for thread in threading.enumerate()):
            if self.life.dead:
                self.engine._operations.close(0.0)
            for thread in threading.enumerate():
                if thread.name.startswith("op-"):
                    thread.join(0.1)

    def _check_operations(self) -> None:
        states = {operation.id: operation.state for operation in self.engine.operations(1000)}
        assert set(states.values()) <= set(ENDED), states
        events = [event.number for event in self.engine.events(0, 0)]
        assert events == list(range(events[0], events[0] + len(events))) if events else True

    def _check_host(self) -> None:
        """Desired is observed; there is nothing else; disks are nobody else's."""
        desired, seen = self.engine._store.desired, observe(self.machine)
        plan = self.engine._repair_plan().plan
        assert plan.steps == (), [step.summary for step in plan.steps]
        assert [note for note in plan.notes if note.refuses or "left" in note.text] == []
        assert check(desired, self.engine.facts()) == []
        assert seen.folder_of.keys() == desired.guests.keys()
        assert seen.network_of.keys() == desired.networks.keys()
        assert seen.router_of.keys() == desired.routers.keys()
        assert seen.port_of.keys() == desired.ports.keys()
        assert seen.storage.trash == ()
        assert self.machine.trashed == {}
        for name, guest in self.machine.host.guests.running.items():
            if guest.alive:
                assert desired.guests[name].power == "on"
                folder = seen.folder_of[name]
                assert {disk.disk for disk in guest.spec.disks} <= {disk.disk for disk in folder.disks}
        running = [guest.spec for guest in self.machine.host.guests.running.values() if guest.alive]
        disks = [(spec.name, disk.disk) for spec in running for disk in spec.disks]
        nics = [nic.port for spec in running for nic in spec.nics]
        assert len(disks) == len(set(disks))
        assert len(nics) == len(set(nics))

    def _check_files(self) -> None:
        wanted = {self.engine._store.path(Ref(kind, name)) for kind, name in self._defined()}
        left = set(self.machine.paths()) - {STATE / "site.toml"}
        assert left == wanted

    def _defined(self) -> list[tuple[Kind, str]]:
        desired = self.engine._store.desired
        parts = {Kind.GUEST: desired.guests, Kind.NETWORK: desired.networks, Kind.PORT: desired.ports}
        parts |= {Kind.FILTER: desired.filters, Kind.ROUTER: desired.routers, Kind.IMAGE: desired.images}
        return [(kind, name) for kind, part in parts.items() for name in part]

    def teardown(self) -> None:
        if hasattr(self, "machine"):
            self.rest()
            self.engine.close()
