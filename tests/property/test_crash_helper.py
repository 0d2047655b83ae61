"""The helper dies, fails or hangs at every request: what was begun is done, or it is as if it had not been begun."""

from __future__ import annotations

import threading
import time

import pytest
from crash_scenarios import BY_NAME, SCENARIOS
from crashes import IRREVERSIBLE, Scenario, but_for_what_stays, difference, problems, survive
from engine_world import Life, Machine, state_of
from skepd.platform.sim import Fault

pytestmark = pytest.mark.usefixtures("quiet_deaths")


@pytest.fixture(params=[scenario.name for scenario in SCENARIOS])
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return BY_NAME[request.param]


@pytest.mark.parametrize("action", ["helper-dies-before", "helper-dies-after"])
@pytest.mark.parametrize("parallel", [1, 4])
def test_the_helper_dies_at_every_request(scenario: Scenario, action: str, parallel: int) -> None:
    after = scenario.ends[1]
    wrong = []
    for at in range(1, len(scenario.requests) + 1):
        machine = scenario.before.copy()
        machine.host.arm(Fault(action=action, at=at))
        ended = scenario.run(Life(machine), parallel=parallel)
        assert ended is not None
        assert (ended.state, ended.error) == ("done", "")
        wrong += [f"at {at}, {scenario.requests[at - 1]}: {problem}" for problem in problems(machine, (after,))]
    assert wrong == []


@pytest.mark.parametrize("action", ["fail", "full"])
@pytest.mark.parametrize("parallel", [1, 4])
def test_every_request_fails_once(scenario: Scenario, action: str, parallel: int) -> None:
    """Undone as long as that can be; after that the rest is done, and what failed when skepd starts again."""
    wrong = []
    for at, name in enumerate(scenario.requests, 1):
        machine = scenario.before.copy()
        machine.host.arm(Fault(action=action, at=at))
        ended = scenario.run(Life(machine), parallel=parallel)
        assert ended is not None
        found = _judge(scenario, machine, ended.state, name, action)
        wrong += [f"at {at}, {name}, {ended.state} ({ended.error}): {found}"] if found else []
    assert wrong == []


def _judge(scenario: Scenario, machine: Machine, state: str, name: str, action: str) -> str:
    if state == "undone":
        now, before = but_for_what_stays(state_of(machine)), but_for_what_stays(scenario.ends[0])
        return difference(now, before) if now != before else ""
    if name == "RollBackGuest" and action == "fail":
        # It may be half done, so the guest is not started on what nobody knows; it can be rolled back again.
        return "" if state == "failed" and not state_of(machine)["guests"] else "it should stay off"
    if state == "failed" and name in ("EmptyTrash", "RemoveImage"):
        return survive(machine, (scenario.ends[1],))
    if state == "failed" and name == "StartGuest" and "RollBackGuest" in scenario.requests:
        return "" if machine.host.read_disk("files", "data") == "" else "it was not rolled back"
    return f"it should not end as {state}"


def test_cancelled_at_every_request(scenario: Scenario) -> None:
    """Each request hangs until the operation is cancelled."""
    before = but_for_what_stays(scenario.ends[0])
    wrong = []
    for at, name in enumerate(scenario.requests, 1):
        machine = scenario.before.copy()
        life = Hanging(machine, name, at)
        ended = scenario.run(life)
        assert ended is not None
        now = but_for_what_stays(state_of(machine))
        if any(name in IRREVERSIBLE for name in scenario.requests[:at]):
            good = ended.state in ("done", "failed")
        else:
            good = ended.state == "cancelled" and now == before
        if not good:
            wrong.append(f"at {at}, {name}, {ended.state} ({ended.error}): {difference(now, before)}")
    assert wrong == []


class Hanging(Life):
    """A life in which the `at`-th request hangs until it is cancelled, which is at once."""

    def __init__(self, machine: Machine, name: str, at: int) -> None:
        super().__init__(machine)
        self.left = at
        machine.host.arm(Fault(action="hang", at=at))

    def tick(self, label: str) -> None:
        super().tick(label)
        if label.startswith("before "):
            self.left -= 1
            if self.left == 0:
                threading.Thread(target=self._cancel, daemon=True).start()

    def _cancel(self) -> None:
        host = self.machine.host
        while not host._cancels:
            time.sleep(0.0005)
        for operation in self.running.operations():
            if not operation.ended:
                self.running.cancel(operation.id)
