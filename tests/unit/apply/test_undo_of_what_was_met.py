"""A failed plan takes back what it made, and nothing that somebody else made meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from skep_helper.vocabulary import CreateDisk, CreateGuestFolder, EmptyTrash, RemoveDisk, TrashGuestFolder
from skepd.apply.executor import Executor, StepFailed
from skepd.apply.journal import Journal, Record, unfinished
from skepd.host import HostError
from skepd.model.names import Kind, Ref
from skepd.plan.steps import Step, TextChange, Work
from skepd.platform.sim.files import SimFiles

FOLDER, KEY = Path("/state/journals"), "ab" * 16
Answer = dict[str, bool] | HostError


class Answering:
    """A host that gives these answers to creations, one after the other, and notes what undoes them."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.undone = list(answers), list[str]()

    def hello(self) -> Any:
        raise AssertionError

    def perform(self, requests: Sequence[Any], progress: Callable[[int, int], None] | None = None) -> tuple[Any, ...]:
        return tuple(map(self._perform, requests))

    def _perform(self, request: Any) -> Any:
        if isinstance(request, (CreateDisk, CreateGuestFolder)):
            answer = self.answers.pop(0)
            if isinstance(answer, HostError):
                raise answer
            return answer
        self.undone.append(type(request).__name__)
        return None

    def open(self, request: Any) -> Any:
        raise AssertionError

    def cancel(self) -> None: ...

    def close(self) -> None: ...


class Silent:
    def step(self, number: int, state: str, done: int = 0, total: int = 0) -> None: ...

    def log(self, line: str) -> None: ...

    def write(self, change: TextChange) -> None: ...


def steps() -> tuple[Step, ...]:
    ref = Ref(Kind.GUEST, "a")
    folder = Step(
        verb="create", ref=ref, summary="folder", stage=0, requests=(CreateGuestFolder(guest="a"),),
        undo=(TrashGuestFolder(guest="a", key=KEY), EmptyTrash(key=KEY)),
    )  # fmt: skip
    disk = Step(
        verb="create", ref=ref, summary="disk", stage=1, requests=(CreateDisk(guest="a", disk="d", size=1 << 20),),
        undo=(RemoveDisk(guest="a", disk="d", key=KEY), EmptyTrash(key=KEY)),
    )  # fmt: skip
    return folder, disk


def fail(host: Answering, files: SimFiles, record: Record | None = None) -> None:
    """Carry out the two steps on a host where something fails, and undo."""
    record = record or Record(id="1", title="t", manager="site", created=0.0, boot_id="b", steps=steps())
    journal = Journal(files, FOLDER, record)
    journal.begin()

    def work(host: Any, work: Work, progress: Any, cancelled: Any) -> None:
        raise AssertionError

    executor = Executor(
        host=host, texts=Silent(), worker=work, observer=Silent(), journal=journal, cancelled=lambda: False,
        sleep=lambda seconds: None,
    )  # fmt: skip
    with pytest.raises(StepFailed):
        executor.run()
    assert executor.undo() == []


def test_what_was_made_is_taken_back() -> None:
    host = Answering({"made": True}, HostError("failed", "qemu-img broke"))
    fail(host, SimFiles())
    assert host.undone == ["RemoveDisk", "EmptyTrash", "TrashGuestFolder", "EmptyTrash"]


def test_a_disk_that_somebody_else_made_is_left_alone() -> None:
    host = Answering({"made": True}, HostError("exists", "there is another one"))
    fail(host, SimFiles())
    assert host.undone == ["TrashGuestFolder", "EmptyTrash"]


def test_a_folder_that_was_there_already_is_left_alone() -> None:
    host = Answering({"made": False}, HostError("full", "no space"))
    fail(host, SimFiles())
    assert host.undone == []


def test_one_that_was_met_after_the_helper_went_away_may_be_its_own() -> None:
    host = Answering(HostError("lost", "gone"), {"made": False}, HostError("lost", "gone"), HostError("exists", "is"))
    fail(host, SimFiles())
    assert host.undone == ["RemoveDisk", "EmptyTrash", "TrashGuestFolder", "EmptyTrash"]


def test_one_that_was_met_after_a_restart_may_be_its_own() -> None:
    files = SimFiles()
    record = Record(id="1", title="t", manager="site", created=0.0, boot_id="b", steps=steps())
    journal = Journal(files, FOLDER, record)
    journal.begin()
    for number in (0, 1):
        journal.started(number)
    (found,), _ = unfinished(files, FOLDER)
    host = Answering({"made": False}, HostError("exists", "is"))
    fail(host, files, found)
    assert host.undone == ["RemoveDisk", "EmptyTrash", "TrashGuestFolder", "EmptyTrash"]


def test_it_is_known_after_a_power_loss_too() -> None:
    files = SimFiles()
    record = Record(id="1", title="t", manager="site", created=0.0, boot_id="b", steps=steps())
    journal = Journal(files, FOLDER, record)
    journal.begin()
    journal.started(0)
    journal.nothing_done(0)
    journal.phase("undoing", "why")
    files.lose_power()
    (found,), _ = unfinished(files, FOLDER)
    assert (found.phase, found.undone) == ("undoing", {0})
