"""Dry runs: the plan of a change, with nothing done; refused as the change itself would be."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from engine_world import Life, Machine, observe
from skepd.engine.contract import Conflict, Refused, Unknown
from skepd.engine.engine import Engine
from skepd.model.errors import DefinitionError
from skepd.model.names import Kind, Manager, Ref
from skepd.model.objects import Disk, Guest, Network

WEB = Ref(Kind.GUEST, "web")
GUEST = Guest(name="web", disks=(Disk(name="root", size=1 << 30),))


@pytest.fixture
def world() -> Iterator[tuple[Machine, Engine]]:
    machine = Machine()
    engine = Life(machine).engine()
    engine.recover()
    with contextlib.closing(engine):
        done(engine, engine.put(GUEST, manager=Manager.USER).id)
        done(engine, engine.guest_action("web", "snapshot", {"snapshot": "first"}).id)
        yield machine, engine


def done(engine: Engine, identity: str) -> list[str]:
    operation = engine.wait(identity, 60)
    assert operation.state == "done", operation.error
    return [step.summary for step in operation.steps]


def everything(machine: Machine, engine: Engine) -> tuple[Any, ...]:
    texts = {path: machine.files.read(path) for path in machine.paths()}
    numbers = [event.number for event in engine.events(0, 0.0)]
    return observe(machine), texts, [operation.id for operation in engine.operations()], numbers


@pytest.mark.parametrize(
    ("action", "options"),
    [
        ("stop", {"timeout": 3}),
        ("restart", {}),
        ("pause", {}),
        ("reset", {}),
        ("grow", {"disk": "root", "size": 2 << 30}),
        ("snapshot", {"snapshot": "second"}),
        ("rollback", {"snapshot": "first"}),
        ("remove-snapshot", {"snapshot": "first"}),
    ],
)
def test_a_plan_says_what_the_action_then_does(
    world: tuple[Machine, Engine], action: str, options: dict[str, Any]
) -> None:
    machine, engine = world
    before = everything(machine, engine)
    plan = engine.plan_action("web", action, options)
    assert plan.steps
    assert everything(machine, engine) == before
    assert done(engine, engine.guest_action("web", action, options).id) == [step.summary for step in plan.steps]


def test_definitions_are_planned_like_actions(world: tuple[Machine, Engine]) -> None:
    machine, engine = world
    before = everything(machine, engine)
    made = engine.plan_put(Network(name="lan"), manager=Manager.USER)
    changed = engine.plan_put(replace(GUEST, memory=1 << 30), manager=Manager.USER)
    deleted = engine.plan_delete(WEB, manager=Manager.USER)
    assert all(plan.steps for plan in (made, changed, deleted))
    assert everything(machine, engine) == before
    assert done(engine, engine.put(Network(name="lan"), manager=Manager.USER).id) == [s.summary for s in made.steps]
    assert done(engine, engine.delete(WEB, manager=Manager.USER).id) == [s.summary for s in deleted.steps]


def test_a_dry_run_refuses_what_the_change_refuses(world: tuple[Machine, Engine]) -> None:
    _, engine = world
    with pytest.raises(Unknown, match="no guest 'wep'"):
        engine.plan_action("wep", "stop", {})
    with pytest.raises(Conflict, match="a snapshot 'first' already"):
        engine.plan_action("web", "snapshot", {"snapshot": "first"})
    with pytest.raises(Refused, match="running: stop it first"):
        engine.plan_action("web", "clone", {"target": "copy"})
    with pytest.raises(Conflict, match="managed by user"):
        engine.plan_delete(WEB, manager=Manager.OPENSTACK)
    with pytest.raises(Conflict, match="exists already"):
        engine.plan_put(GUEST, manager=Manager.USER, etag="*")
    with pytest.raises(DefinitionError):
        engine.plan_put(replace(GUEST, nics=(), name="Bad Name"), manager=Manager.USER)
    smaller = replace(GUEST, disks=(replace(GUEST.disks[0], size=1 << 20),))
    with pytest.raises(Refused):
        engine.plan_put(smaller, manager=Manager.USER)
