from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import Cli
from running_api import example_engine, serving


@pytest.fixture
def skep(tmp_path: Path) -> Iterator[Cli]:
    with serving(example_engine()) as api:
        yield Cli(api, tmp_path)
