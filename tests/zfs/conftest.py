"""Tests on real OpenZFS: they run in the guest that `make test-zfs` starts, and nowhere else."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import zfs_lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    if "SKEP_ZFS_DISKS" not in os.environ and any(item.path.parent == here for item in items):
        pytest.exit("tests/zfs write on whole disks: run them by `make test-zfs`", pytest.ExitCode.USAGE_ERROR)


_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def whole_pool() -> Iterator[str]:
    """A pool of 8 GB on one disk; its name. Volumes in it are whole devices (volmode=dev is inherited)."""
    with zfs_lab.made_pool("skept", zfs_lab.disks()[0]) as name:
        yield name


@pytest.fixture(scope="module")
def module_pool(whole_pool: str) -> Iterator[str]:
    """An empty dataset that stands for a pool, for the tests of one module."""
    with zfs_lab.made_dataset(f"{whole_pool}/m{next(_NUMBERS)}") as name:
        yield name


@pytest.fixture
def pool(whole_pool: str) -> Iterator[str]:
    """An empty dataset that stands for a pool: to make a real one takes an emulated machine very long."""
    with zfs_lab.made_dataset(f"{whole_pool}/t{next(_NUMBERS)}") as name:
        yield name
