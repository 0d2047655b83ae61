from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import helper_lab
import pytest
from skepd.helper_client import HelperClient


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[helper_lab.Lab]:
    with helper_lab.running(tmp_path) as value:
        yield value


@pytest.fixture
def client(lab: helper_lab.Lab) -> Iterator[HelperClient]:
    value = HelperClient(lab.socket, patience=60)
    yield value
    value.close()
