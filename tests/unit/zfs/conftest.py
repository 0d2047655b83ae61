"""The handlers on a pool that is only told of: every command goes through the one door."""

from __future__ import annotations

from pathlib import Path

import pytest
from skep_helper import run
from skep_helper.zfs import layout, nodes, streams
from zfs_bench import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    monkeypatch.setattr(run, "attempt", made.zfs.attempt)
    monkeypatch.setattr(streams, "copy", made.zfs.copy)
    monkeypatch.setattr(nodes, "ZVOL", str(made.zfs.zvol))
    monkeypatch.setattr(nodes, "_is", lambda descriptor, volume: True)
    monkeypatch.setattr(layout, "is_mount", lambda parent, folder: made.zfs.is_mounted(folder.path))
    made.start()
    return made
