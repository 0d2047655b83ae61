"""Whatever two states are: the plan between them works, is complete, and can be taken back at every step."""

from __future__ import annotations

import contextlib
import copy
import os
from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from planning import GIB, World, comparable, desired, observe
from skepd.host import HostError
from skepd.model.desired import Desired
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
from skepd.plan import PlanOptions, plan
from skepd.plan.wires import turns
from skepd.platform.sim import Fault, SimHost

NETWORKS = ("east", "north", "south", "west")
GUESTS = ("ape", "bee", "cat", "dog")
UPLINKS = ("eth0", "eth1")


@st.composite
def networks(draw: st.DrawFn) -> list[Network]:
    found = []
    wires: set[tuple[object, ...]] = set()
    for number, name in enumerate(NETWORKS):
        if not draw(st.booleans()):
            continue
        kind = draw(st.sampled_from(("isolated", "nat", "vlan", "vxlan")))
        network = Network(name=name, kind=kind, subnets=(Subnet(prefix=f"10.{number}.0.0/16"),))
        if kind == "vlan":
            network = replace(network, uplink=draw(st.sampled_from(UPLINKS)), vlan=draw(st.integers(10, 12)))
        if kind == "vxlan":
            network = replace(network, vni=draw(st.integers(1, 3)), local="192.0.2.1")
        wire = (network.uplink, network.vlan, network.vni)
        if kind in ("vlan", "vxlan") and wire in wires:
            continue
        wires.add(wire)
        found.append(network)
    return found


FILTERS = st.lists(
    st.builds(
        Rule,
        direction=st.sampled_from(("in", "out")),
        protocol=st.sampled_from(("tcp", "udp")),
        ports=st.sampled_from(("22", "80-90")),
        group=st.sampled_from((None, "web", "db")),
    ),
    max_size=3,
).map(tuple)


@st.composite
def guests(draw: st.DrawFn, name: str, number: int, nets: list[Network]) -> tuple[Guest, list[Port]]:
    joined = draw(st.lists(st.sampled_from(nets), max_size=2, unique_by=lambda net: net.name)) if nets else []
    ports = [
        Port(
            name=f"{name}.{index}",
            network=net.name,
            guest=name,
            addresses=(net.subnets[0].prefix.replace(".0.0/16", f".0.{10 + number}"),) if draw(st.booleans()) else (),
            filters=tuple(draw(st.sets(st.sampled_from(("web", "db"))))),
        )
        for index, net in enumerate(joined)
    ]
    disks = [
        Disk(
            name=disk,
            size=draw(st.sampled_from((GIB, 2 * GIB))),
            image=draw(st.sampled_from((None, "small"))),
            edition=draw(st.sampled_from(("thin", "full"))),
        )
        for disk in sorted(draw(st.sets(st.sampled_from(("system", "data", "log")))))
    ]
    guest = Guest(
        name=name,
        memory=draw(st.sampled_from((GIB // 2, GIB))),
        disks=tuple(disks),
        nics=tuple(Nic(port=port.name) for port in ports),
        cloud_init=draw(st.sampled_from((None, CloudInit(user="anna"), CloudInit(user="bert")))),
        boot=Boot(order=draw(st.integers(1, 3)), delay=draw(st.integers(0, 1))),
        power=draw(st.sampled_from(("on", "on", "off"))),
    )
    return guest, ports


@st.composite
def states(draw: st.DrawFn) -> Desired:
    nets = draw(networks())
    values: list[object] = [Image(name="small", version=draw(st.sampled_from(("1", "2"))), sources=("http://a/",))]
    values += [Filter(name=name, rules=draw(FILTERS)) for name in ("web", "db")]
    values += nets
    if len(nets) > 1 and draw(st.booleans()):
        legs = draw(st.lists(st.sampled_from(nets), min_size=1, max_size=3, unique_by=lambda net: net.name))
        values.append(Router(name="hub", legs=tuple(_leg(net) for net in legs)))
    for number, name in enumerate(GUESTS):
        if draw(st.booleans()):
            guest, ports = draw(guests(name, number, nets))
            values += [guest, *ports]
    return desired(*values)


def _leg(net: Network) -> Leg:
    return Leg(network=net.name, addresses=(net.subnets[0].prefix.replace(".0.0/", ".0.1/"),))


def new_world() -> World:
    return World(host=SimHost(uplinks=UPLINKS))


def shrinks(before: Desired, after: Desired) -> bool:
    """A plan that makes a disk smaller is refused, rightly."""
    for name, guest in after.guests.items():
        old = {disk.name: disk.size or 0 for disk in before.guests[name].disks} if name in before.guests else {}
        if any((disk.size or 0) < old.get(disk.name, 0) for disk in guest.disks):
            return True
    return False


def swaps_wires(before: Desired, after: Desired) -> bool:
    """Networks that take each other's wire in a ring are refused, rightly."""
    return None in turns(before.networks, after.networks).values()


def matches(world: World, state: Desired) -> None:
    """The host is as it should be, said without the planner."""
    seen = observe(world.host)
    assert set(seen.folder_of) == set(state.guests)
    assert set(seen.network_of) == set(state.networks)
    assert {name: port.network for name, port in seen.port_of.items()} == {
        name: port.network for name, port in state.ports.items()
    }
    assert set(seen.router_of) == set(state.routers)
    assert seen.storage.trash == ()
    running = {guest.name for guest in seen.guests if guest.state == "running"}
    assert running == {name for name, guest in state.guests.items() if guest.power == "on"}
    for name, guest in state.guests.items():
        there = {disk.disk: disk.size for disk in seen.folder_of[name].disks}
        assert there == {disk.name: disk.size for disk in guest.disks}
        if name in running:
            spec = world.host.guests.running[name].spec
            assert spec.memory == guest.memory
            assert [disk.disk for disk in spec.disks] == [disk.name for disk in guest.disks]
            assert [nic.port for nic in spec.nics] == [nic.port for nic in guest.nics]
    for name, network in state.networks.items():
        made = world.host.network.networks[name]
        assert (made.kind, made.uplink, made.vlan, made.vni) == (
            network.kind,
            network.uplink,
            network.vlan,
            network.vni,
        )


COMMON = settings(
    max_examples=int(os.environ.get("SKEP_EXAMPLES", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@COMMON
@given(states(), states())
def test_a_plan_carried_out_is_complete(first: Desired, second: Desired) -> None:
    assume(not shrinks(first, second) and not swaps_wires(first, second))
    world = new_world()
    for state in (first, second):
        world.apply(state, restart=True)
        matches(world, state)
        again = world.plan(restart=True)
        assert again.steps == ()
    assert world.plan(second, restart=True).steps == ()


@COMMON
@given(states(), states(), st.data())
def test_undone_at_any_step_the_host_is_as_before(first: Desired, second: Desired, data: st.DataObject) -> None:
    assume(not shrinks(first, second) and not swaps_wires(first, second))
    world = new_world()
    world.apply(first, restart=True)
    before, texts = comparable(observe(world.host)), dict(world.texts)
    made = world.plan(second, restart=True)
    undoable = [step for step in made.steps if step.undo is not None]
    assert list(made.steps[: len(undoable)]) == undoable
    done = world.carry_out(made, data.draw(st.integers(0, len(undoable)), label="steps done"))
    for step in reversed(done):
        # An undoing that was itself interrupted begins again with the step that it does not know to be undone.
        for _ in range(data.draw(st.integers(1, 2), label=f"undo {step.summary}")):
            world.undo([step])
    assert comparable(observe(world.host)) == before
    assert world.texts == texts


@COMMON
@given(states(), states(), st.data())
def test_every_step_may_be_repeated(first: Desired, second: Desired, data: st.DataObject) -> None:
    """Killed after any step, recovery carries out the journalled steps again from a step not known to be done."""
    assume(not shrinks(first, second) and not swaps_wires(first, second))
    world = new_world()
    world.apply(first, restart=True)
    made = world.plan(second, restart=True)
    for step in made.steps:
        times = 2 if data.draw(st.booleans(), label=step.summary) else 1
        for _ in range(times):
            world.carry_out(replace(made, steps=(step,)))
    matches(world, second)
    assert world.plan(restart=True).steps == ()


@COMMON
@given(states(), states(), st.data())
def test_after_a_power_loss_the_durable_rest_and_a_repair_are_enough(
    first: Desired, second: Desired, data: st.DataObject
) -> None:
    """What the engine does after a boot: the steps left that are not volatile, then a plan from the store."""
    assume(not shrinks(first, second) and not swaps_wires(first, second))
    world = new_world()
    world.apply(first, restart=True)
    made = world.plan(second, restart=True)
    at = data.draw(st.integers(0, len(made.steps)), label="power lost after")
    world.carry_out(made, at)
    world.host.lose_power()
    for step in made.steps[max(0, at - 1) :]:
        if not step.volatile:
            world.carry_out(replace(made, steps=(step,)))
    world.carry_out(world.plan(restart=True))
    matches(world, second)
    assert world.plan(restart=True).steps == ()


@COMMON
@given(states(), states())
def test_planning_is_deterministic(first: Desired, second: Desired) -> None:
    world = new_world()
    world.apply(first, restart=True)
    backwards = desired(*reversed(list(second)))
    observed, facts, stored = observe(world.host), world.host.facts(), world.stored
    one = plan(stored, second, observed, facts, PlanOptions(restart=True))
    other = plan(stored, backwards, copy.deepcopy(observed), facts, PlanOptions(restart=True), cache=world.cache)
    assert one == other


@COMMON
@given(states(), states())
def test_no_two_guests_share_a_disk(first: Desired, second: Desired) -> None:
    assume(not shrinks(first, second) and not swaps_wires(first, second))
    world = new_world()
    world.apply(first, restart=True)
    world.apply(second, restart=True)
    disks = [id(disk) for folder in world.host.storage.folders.values() for disk in folder.disks.values()]
    assert len(disks) == len(set(disks))
    for guest in world.host.guests.running.values():
        slots = [device.slot for device in (*guest.spec.disks, *guest.spec.nics, *guest.spec.media)]
        assert len(slots) == len(set(slots))


@COMMON
@given(states(), st.data())
def test_a_failed_request_leaves_what_can_be_undone(state: Desired, data: st.DataObject) -> None:
    world = new_world()
    before = comparable(observe(world.host))
    made = world.plan(state)
    count = sum(len(step.requests) for step in made.steps)
    assume(count)
    world.host.arm(Fault(action="fail", at=data.draw(st.integers(1, count), label="fails at")))
    done = []
    with contextlib.suppress(HostError):
        for step in made.steps:
            done.append(step)
            world.carry_out(replace(made, steps=(step,)))
    assert len(done) < len(made.steps) or world.host.faults.count == count
    # The step that failed is undone too: whether it was done is not known when the helper dies.
    world.undo(done)
    assert comparable(observe(world.host)) == before
