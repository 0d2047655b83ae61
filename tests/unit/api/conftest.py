from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_engine import FakeEngine
from running_api import Running, example_engine, serving
from skepd.access import passwords


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work, less of it."""
    monkeypatch.setattr(passwords, "COST", passwords.Cost(n=16, r=8, p=1))


@pytest.fixture
def engine() -> FakeEngine:
    return example_engine()


@pytest.fixture
def running(engine: FakeEngine) -> Iterator[Running]:
    with serving(engine) as server:
        yield server
