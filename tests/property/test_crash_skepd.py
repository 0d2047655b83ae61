"""skepd dies at every place where it changes something, with and without a power loss: the next one ends the work."""

from __future__ import annotations

import random

import pytest
from crash_scenarios import BY_NAME, SCENARIOS
from crashes import (
    Scenario,
    dies_at_every_tick,
    dies_while_it_undoes,
    forgets_a_rollback,
    loses_power_after_another,
    problems,
    restart,
    survive,
)
from engine_world import Life, Machine, state_of

pytestmark = pytest.mark.usefixtures("quiet_deaths")
POWER = pytest.mark.parametrize("power", [False, True], ids=["killed", "power"])


@pytest.fixture(params=[scenario.name for scenario in SCENARIOS])
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return BY_NAME[request.param]


def test_undisturbed(scenario: Scenario) -> None:
    before, after = scenario.ends
    assert before != after
    assert list(problems(scenario.undisturbed.machine, (after,))) == []
    assert survive(scenario.undisturbed.machine.copy(), (after,)) == ""


@POWER
def test_dies_at_every_tick(scenario: Scenario, power: bool) -> None:
    assert list(dies_at_every_tick(scenario, power)) == []


@POWER
def test_dies_again_while_it_recovers(scenario: Scenario, power: bool) -> None:
    """At every fifth tick, and then at a few ticks of what the next skepd does."""
    choose = random.Random(scenario.name)
    wrong = []
    for die_at in range(1, len(scenario.undisturbed.labels) + 1, 5):
        first = Life(scenario.before.copy(seed=die_at), die_at, choose.random() < 0.5)
        scenario.run(first)
        ticks = len(restart(first.machine.copy()).labels)
        for again in sorted({choose.randint(1, ticks) for _ in range(3)}) if ticks else []:
            machine = first.machine.copy(seed=again)
            second = restart(machine, again, power)
            assert second.dead
            found = survive(machine, scenario.allowed(die_at))
            if found:
                wrong.append(f"at {die_at}, {first.labels[-1]}, then at {again}, {second.labels[-1]}: {found}")
    assert wrong == []


@POWER
def test_dies_while_it_undoes(scenario: Scenario, power: bool) -> None:
    assert list(dies_while_it_undoes(scenario, power)) == []


def test_loses_power_after_another_operation(scenario: Scenario) -> None:
    assert list(loses_power_after_another(scenario)) == []


def test_what_a_guest_wrote_after_a_rollback_is_kept() -> None:
    assert list(forgets_a_rollback(BY_NAME["rollback"])) == []


def test_a_machine_is_copied_as_it_is() -> None:
    scenario = BY_NAME["create"]
    machine: Machine = scenario.undisturbed.machine
    assert state_of(machine.copy()) == state_of(machine)
    assert list(problems(machine.copy(), (scenario.ends[1],))) == []
