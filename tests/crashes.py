"""Scenarios for crash tests: a state before, one operation, and every way in which it may be cut off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from engine_world import Life, Machine, finished, join, state_of
from skepd.engine.contract import Operation, Refused, Unknown
from skepd.engine.engine import Engine
from skepd.model.definitions import parse_object
from skepd.model.names import Kind, Manager
from skepd.platform.sim import Died, Fault

Act = Callable[[Engine], Operation]
IRREVERSIBLE = ("EmptyTrash", "RemoveImage", "RollBackGuest")
"""Requests that nothing takes back."""


@dataclass
class Scenario:
    """prepare: operations that make the state before. act: the operation that is cut off.

    confirm: whether the operation waits for a confirmation and gets it. written: what guests did to the state before.
    """

    name: str
    act: Act
    prepare: tuple[Act, ...] = ()
    confirm: bool = False
    written: Callable[[Machine], None] = lambda machine: None
    confirming_at: int = field(default=0, init=False)

    @cached_property
    def before(self) -> Machine:
        machine = Machine()
        engine = Life(machine).engine()
        engine.recover()
        for act in self.prepare:
            ended = finished(engine, act(engine))
            assert ended.state == "done", ended.error
        engine.close()
        machine.lose_power()
        engine = Life(machine).engine()
        engine.recover()
        engine.close()
        self.written(machine)
        return machine

    @cached_property
    def undisturbed(self) -> Life:
        life = Life(self.before.copy())
        ended = self.run(life)
        assert ended is not None
        assert ended.state == "done", ended.error
        return life

    @cached_property
    def ends(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The states before and after."""
        return state_of(self.before), state_of(self.undisturbed.machine)

    @cached_property
    def accepted_at(self) -> int:
        """The tick from which on the operation must be brought to its end: its journal is there."""
        labels = self.undisturbed.labels
        return next(number for number, label in enumerate(labels, 1) if label.startswith("append /state/journals"))

    def allowed(self, die_at: int) -> tuple[dict[str, Any], ...]:
        """The states that a restart may end in when skepd died at this tick."""
        before, after = self.ends
        if self.confirm:
            # Two ticks: the line of the confirmation, and its fsync.
            told = self.confirming_at
            return (before,) if die_at <= told else (after,) if die_at > told + 2 else (before, after)
        return (after,) if die_at >= self.accepted_at else (before, after)

    @property
    def requests(self) -> list[str]:
        """Names of the changing requests of the undisturbed operation, in order."""
        return [label.split()[1] for label in self.undisturbed.labels if label.startswith("before ")]

    def run(self, life: Life, **settings: Any) -> Operation | None:
        """Recover and do it in one life of skepd; None when it died."""
        try:
            engine = life.engine(**settings)
            engine.recover()
            operation = self.act(engine)
            if self.confirm:
                self._confirm(life, engine, operation)
            ended = finished(engine, operation)
            if life.dead:
                return None
            engine.close()
            return ended
        except Died:
            join()
            return None

    def _confirm(self, life: Life, engine: Engine, operation: Operation) -> None:
        while not life.dead:
            now = engine.operation(operation.id)
            if now.ended:
                return
            if now.state == "confirming":
                self.confirming_at = self.confirming_at or len(life.labels)
                # It waits for the end of the operation, which may die.
                threading.Thread(target=_confirm, args=(engine, operation.id), daemon=True).start()
                return
            time.sleep(0.001)


def _confirm(engine: Engine, identity: str) -> None:
    with suppress(Unknown, Refused):
        engine.confirm(identity)


def dies_at_every_tick(scenario: Scenario, power: bool, seeds: Sequence[int] = (0,)) -> Iterator[str]:
    """What is wrong after skepd died at each tick. seeds: of the damage that power losses do."""
    for die_at in range(1, len(scenario.undisturbed.labels) + 1):
        for seed in seeds:
            life = Life(scenario.before.copy(seed=die_at + seed), die_at, power)
            assert scenario.run(life) is None
            found = survive(life.machine, scenario.allowed(die_at))
            if found:
                yield f"at {die_at}, {life.labels[-1]}: {found}"


def dies_while_it_undoes(scenario: Scenario, power: bool) -> Iterator[str]:
    """The last request that can be undone fails, and then skepd dies at every tick of undoing."""
    before, after = (but_for_what_stays(state) for state in scenario.ends)
    last, life = fails_late(scenario)
    seen = [number for number, label in enumerate(life.labels, 1) if label.startswith("before ")]
    failed_at = seen[last - 1] + 1
    for die_at in range(failed_at, len(life.labels) + 1):
        machine = scenario.before.copy(seed=die_at)
        machine.host.arm(Fault(action="full", at=last))
        life = Life(machine, die_at, power)
        assert scenario.run(life) is None
        machine.host.faults.disarm()
        restart(machine)
        # Until it is noted that undoing begins, the next skepd goes on, and the fault is gone by then.
        ends = (before,) if die_at >= failed_at + 2 else (before, after)
        now = but_for_what_stays(state_of(machine))
        if now not in ends:
            yield f"at {die_at}, {life.labels[-1]}: {difference(now, before)}"


def fails_late(scenario: Scenario) -> tuple[int, Life]:
    """The number of the last request that can be undone, and a life in which it fails and all is undone."""
    last = 0
    for number, name in enumerate(scenario.requests, 1):
        if name in IRREVERSIBLE:
            break
        last = number
    machine = scenario.before.copy()
    machine.host.arm(Fault(action="full", at=last))
    life = Life(machine)
    ended = scenario.run(life)
    assert ended is not None
    assert ended.state == "undone", (ended.state, ended.error)
    return last, life


def forgets_a_rollback(scenario: Scenario) -> Iterator[str]:
    """The power goes soon after a rollback, when the guest has written already: that must not be rolled back again."""
    labels = scenario.undisturbed.labels
    for die_at in range(labels.index("after StartGuest") + 2, len(labels) + 1):
        life = Writing(scenario.before.copy(seed=die_at), die_at, power=True)
        scenario.run(life)
        restart(life.machine)
        if life.machine.host.read_disk("files", "data") != Writing.TEXT:
            yield f"rolled back again after a death at {labels[die_at - 1]}"


def loses_power_after_another(scenario: Scenario) -> Iterator[str]:
    """The power goes after a further operation, whose journal is on disk while that of the first is gone for good."""
    machine = scenario.before.copy()
    ended = scenario.run(Life(machine))
    assert ended is not None
    engine = Life(machine).engine()
    engine.recover()
    another = parse_object(Kind.FILTER, 'name = "another"', "another.toml")
    assert finished(engine, engine.put(another, manager=Manager.USER)).state == "done"
    engine.close()
    reached = state_of(machine)
    machine.lose_power()
    restart(machine)
    yield from problems(machine, (reached,))


class Writing(Life):
    """A guest that writes as soon as it is started."""

    TEXT = "written after the rollback"

    def tick(self, label: str) -> None:
        if label == "after StartGuest":
            self.machine.host.write_disk("files", "data", self.TEXT)
        super().tick(label)


def restart(machine: Machine, die_at: int = 0, power: bool = False) -> Life:
    """A new life of skepd that recovers, and ends in order unless it dies."""
    life = Life(machine, die_at, power)
    try:
        engine = life.engine()
        engine.recover()
        engine.close()
    except Died:
        join()
    return life


def problems(machine: Machine, allowed: tuple[dict[str, Any], ...]) -> Iterator[str]:
    """What is wrong after a restart: another state than allowed, or something left behind."""
    now = state_of(machine)
    if now not in allowed:
        yield f"another state: {difference(now, allowed[-1])}"
    for path in machine.paths():
        if path.name.startswith(".") or path.suffix == ".journal":
            yield f"{path} is left"
    if now["trash"] or machine.trashed:
        yield f"trash is left: {now['trash']} {machine.trashed}"


def but_for_what_stays(state: dict[str, Any]) -> dict[str, Any]:
    """A state without what undoing leaves on purpose: pulled images, and disks that grew."""
    folders = {
        name: replace(folder, disks=tuple(replace(disk, size=0, allocated=0) for disk in folder.disks))
        for name, folder in state["folders"].items()
    }
    return {**state, "images": (), "folders": folders}


def difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    found = []
    for key in one:
        if one[key] != other[key]:
            if isinstance(one[key], dict):
                for name in one[key].keys() | other[key].keys():
                    mine, its = one[key].get(name), other[key].get(name)
                    if mine != its:
                        found.append(f"{key} {name}: {mine!r} instead of {its!r}")
            else:
                found.append(f"{key}: {one[key]!r} instead of {other[key]!r}")
    return "; ".join(found)


def survive(machine: Machine, allowed: tuple[dict[str, Any], ...]) -> str:
    """Restart, look, lose power, restart, look again: what is reached is kept. Returns what is wrong."""
    restart(machine)
    found = list(problems(machine, allowed))
    if not found:
        reached = state_of(machine)
        machine.lose_power()
        restart(machine)
        found = [f"after a further power loss: {problem}" for problem in problems(machine, (reached,))]
    return "; ".join(found)
