from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_engine import FakeEngine
from running_api import Running, example_engine, serving


@pytest.fixture
def engine() -> FakeEngine:
    return example_engine()


@pytest.fixture
def running(engine: FakeEngine) -> Iterator[Running]:
    with serving(engine) as server:
        yield server
