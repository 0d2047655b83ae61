"""Gives the suite to pytest: every test with every host, and once for each of its variants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance_hosts import SIM, connected, helper, hosts
from conformance_lab import Lacking, runs_on, variants_of
from skepd.host import Host


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # One worker has the real host: tests on it share its helper.
    marks = (pytest.mark.real, pytest.mark.xdist_group("conformance"))
    try:
        names = hosts()
    except SystemExit as reason:
        pytest.exit(str(reason), returncode=pytest.ExitCode.USAGE_ERROR)
    names = tuple(name for name in names if runs_on(metafunc.function, name))
    parameters = [pytest.param(name, marks=() if name == SIM else marks) for name in names]
    metafunc.parametrize("host", parameters, indirect=True)
    for name, values in variants_of(metafunc.function).items():
        metafunc.parametrize(name, values)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test of another platform's is none of this run's, and not one that was skipped."""
    foreign = [item for item in items if _is_foreign(item)]
    config.hook.pytest_deselected(items=foreign)
    items[:] = [item for item in items if item not in foreign]


def _is_foreign(item: pytest.Item) -> bool:
    if Path(__file__).parent not in item.path.parents or not isinstance(item, pytest.Function):
        return False
    return not any(runs_on(item.function, name) for name in hosts())


@pytest.fixture(scope="session")
def helper_socket() -> Iterator[Path]:
    with helper() as found:
        yield found.path


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    path = None if request.param == SIM else request.getfixturevalue("helper_socket")
    with connected(request.param, path) as found:
        yield found


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Iterator[None]:
    try:
        return (yield)
    except Lacking as reason:
        pytest.skip(str(reason))
