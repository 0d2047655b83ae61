"""SimFiles itself: what is promised survives a power loss, what is not promised does not, and mutants are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from skepd.files import Files, discard, replace
from skepd.platform.sim import Died
from skepd.platform.sim.files import SimFiles

FOLDER = Path("/state")
FILE = FOLDER / "guest.toml"
OLD, NEW = b"old content", b"new content, somewhat longer"
SEEDS = range(20)


def dying_at(point: int, seed: int) -> SimFiles:
    def die(number: int) -> None:
        # The first four operations write the old content.
        if number == 4 + point:
            raise Died

    return SimFiles(seed, before_change=die)


def after_power_loss(files: SimFiles) -> bytes | None:
    files.lose_power()
    return files.read(FILE) if FILE.name in files.names(FOLDER) else None


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", range(1, 6))
def test_replace_survives_at_every_point(point: int, seed: int) -> None:
    files = dying_at(point, seed)
    replace(files, FILE, OLD)
    returned = False
    try:
        replace(files, FILE, NEW)
        returned = True
    except Died:
        pass
    assert returned == (point == 5)
    assert after_power_loss(files) in ((NEW,) if returned else (OLD, NEW))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_first_file_survives_once_replace_returns(seed: int) -> None:
    files = SimFiles(seed)
    replace(files, FILE, NEW)
    assert after_power_loss(files) == NEW


class Leaving(SimFiles):
    """A disk that is never told of one kind of fsync: stands for code that leaves it out."""

    def __init__(self, seed: int, without: str) -> None:
        super().__init__(seed)
        self.without = without

    def fsync(self, path: Path) -> None:
        if self.without != "fsync":
            super().fsync(path)

    def fsync_folder(self, folder: Path) -> None:
        if self.without != "fsync_folder":
            super().fsync_folder(folder)


@pytest.mark.parametrize("without", ["fsync", "fsync_folder"])
def test_a_mutant_of_replace_is_found(without: str) -> None:
    found = 0
    for seed in SEEDS:
        files = Leaving(seed, "")
        replace(files, FILE, OLD)
        files.without = without
        replace(files, FILE, NEW)
        found += after_power_loss(files) != NEW
    assert found > len(SEEDS) / 2


def test_a_mutant_of_discard_is_found() -> None:
    for without, left in (("", None), ("fsync_folder", OLD)):
        files = Leaving(0, "")
        replace(files, FILE, OLD)
        files.without = without
        discard(files, FILE)
        assert after_power_loss(files) == left


def test_a_write_in_place_can_be_torn() -> None:
    seen = set()
    for seed in range(60):
        files = SimFiles(seed)
        replace(files, FILE, OLD)
        files.write(FILE, NEW)
        assert files.read(FILE) == NEW
        seen.add(after_power_loss(files))
    assert {OLD, b""} < seen
    assert any(content not in (OLD, NEW, b"") for content in seen)


def test_an_append_is_lost_or_torn_but_what_was_fsynced_stays() -> None:
    """As a journal needs it: a record that was fsynced is there, whatever happens to the one after it."""
    for seed in SEEDS:
        files = SimFiles(seed)
        replace(files, FILE, OLD)
        files.append(FILE, b"|record")
        files.fsync(FILE)
        files.append(FILE, b"|another")
        left = after_power_loss(files)
        assert left is not None
        assert left.startswith(OLD + b"|record")


def test_names_without_fsync_of_the_folder_are_as_before() -> None:
    files = SimFiles()
    other = FOLDER / "other"
    replace(files, FILE, OLD)
    files.write(other, b"x")
    files.fsync(other)
    files.rename(FILE, FOLDER / "moved")
    assert files.names(FOLDER) == ["moved", "other"]
    files.lose_power()
    assert files.names(FOLDER) == [FILE.name]


def test_a_name_of_one_folder_is_not_made_durable_by_another() -> None:
    files = SimFiles()
    files.write(FILE, OLD)
    files.fsync(FILE)
    files.fsync_folder(Path("/elsewhere"))
    files.lose_power()
    assert files.names(FOLDER) == []


def test_what_is_not_there() -> None:
    files: Files = SimFiles()
    assert files.names(FOLDER) == []
    for act in (files.read, files.fsync, files.remove):
        with pytest.raises(FileNotFoundError):
            act(FILE)
    with pytest.raises(FileNotFoundError):
        files.rename(FILE, FOLDER / "b")
    discard(files, FILE)
