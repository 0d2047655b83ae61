"""Tests on real OpenZFS: they run in the guest that `make test-zfs` starts, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import zfs_lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    if "SKEP_ZFS_DISKS" not in os.environ and any(item.path.parent == here for item in items):
        pytest.exit("tests/zfs write on whole disks: run them by `make test-zfs`", pytest.ExitCode.USAGE_ERROR)


@pytest.fixture
def pool() -> Iterator[str]:
    """An empty pool of 8 GB on one disk; its name. Volumes in it are whole devices (volmode=dev is inherited)."""
    with zfs_lab.made_pool("skept", zfs_lab.disks()[0]) as name:
        yield name
