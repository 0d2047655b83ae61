"""The code with one fsync left out: the crash tests must notice each such mutant, or the fsync is not needed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crash_scenarios import BY_NAME
from crashes import dies_at_every_tick, dies_while_it_undoes, fails_late, forgets_a_rollback, loses_power_after_another
from engine_world import LEFT_OUT, SITES

pytestmark = pytest.mark.usefixtures("quiet_deaths")
ALL = {
    "fsync < replace < begin",
    "fsync < replace < write",
    "fsync < replace < _keep_site",
    "fsync_folder < replace < begin",
    "fsync_folder < replace < write",
    "fsync_folder < replace < _keep_site",
    "fsync_folder < discard < write",
    "fsync < _line < started",
    "fsync < _line < phase < undoing",
    "fsync < _line < phase < confirmed",
}


def wrong() -> Iterator[str]:
    """What the crash tests with power losses find wrong, the shorter ones first."""
    for scenario in BY_NAME.values():
        yield from loses_power_after_another(scenario)
    for name in ("stop", "put-network", "grow", "confirm"):
        yield from dies_at_every_tick(BY_NAME[name], power=True)
    yield from forgets_a_rollback(BY_NAME["rollback"])
    for name in ("stop", "clone", "delete-guest"):
        yield from dies_while_it_undoes(BY_NAME[name], power=True)
    for name in ("delete", "create", "change"):
        yield from dies_at_every_tick(BY_NAME[name], power=True)


def test_every_fsync_of_the_code_is_known_here() -> None:
    for scenario in BY_NAME.values():
        assert scenario.undisturbed
    fails_late(BY_NAME["change"])
    assert SITES == ALL


@pytest.mark.parametrize("site", sorted(ALL))
def test_a_mutant_is_noticed(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for scenario in BY_NAME.values():
        # What they must be like is known from the code as it is.
        assert scenario.undisturbed
        assert scenario.ends
    monkeypatch.setitem(LEFT_OUT, "site", site)
    try:
        noticed = next(wrong(), "")
    except AssertionError as error:
        noticed = str(error)
    assert noticed
