"""Which lines of a journal wait for the disk."""

from __future__ import annotations

from pathlib import Path

from skepd.apply.journal import Journal, Record, unfinished
from skepd.model.names import Kind, Ref
from skepd.plan.steps import Step
from skepd.platform.sim.files import SimFiles

FOLDER = Path("/state/journals")


class Counting(SimFiles):
    """Counts what waits for the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.syncs = 0

    def fsync(self, path: Path) -> None:
        self.syncs += 1
        super().fsync(path)


def step(stage: int, *, volatile: bool = False, final: bool = False) -> Step:
    undo = None if final else ()
    return Step(verb="do", ref=Ref(Kind.GUEST, "a"), summary="do", stage=stage, volatile=volatile, undo=undo)


def begun(*steps: Step) -> tuple[Counting, Journal]:
    files = Counting()
    journal = Journal(
        files, FOLDER, Record(id="1", title="t", manager="site", created=0.0, boot_id="b", steps=tuple(steps))
    )
    journal.begin()
    files.syncs = 0
    return files, journal


def test_the_first_stage_is_announced_by_the_plan_itself() -> None:
    files, journal = begun(step(0), step(0), step(1))
    files.lose_power()
    (record,), _ = unfinished(files, FOLDER)
    assert record.started == {0, 1}
    assert journal.record.started == set(), "only what began is undone while skepd lives"
    journal.started(0)
    journal.started(1)
    assert files.syncs == 0


def test_later_steps_wait_for_the_disk_unless_they_are_volatile() -> None:
    files, journal = begun(step(0), step(1), step(2, volatile=True))
    for number, syncs in ((0, 0), (1, 1), (2, 1)):
        journal.started(number)
        journal.done(number)
        assert files.syncs == syncs


def test_what_cannot_be_undone_is_known_as_done_before_a_guest_starts() -> None:
    files, journal = begun(step(0), step(1, final=True), step(2, volatile=True), step(3, volatile=True))
    journal.started(1)
    journal.done(1)
    journal.started(2)
    files.lose_power()
    (record,), _ = unfinished(files, FOLDER)
    assert record.done == {1}
    assert 2 in record.started
    assert files.syncs == 2
    journal.started(3)
    assert files.syncs == 2, "nothing final came since"
