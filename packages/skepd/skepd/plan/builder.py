"""Collects steps in phases and numbers the stages.

The order of the phases is the plan's safety; each line says why it stands where it stands.
"""

from __future__ import annotations

from enum import IntEnum

from skepd.model.names import Kind, Ref

from .steps import Note, Step


class Phase(IntEnum):
    """In the order of execution.

    What takes long and harms nobody comes first (PULL to SEED), while everything still runs. Then guests stop, and
    what goes away lets go of what it holds (addresses, VLANs, PCI devices) before anything new takes hold of it.
    Data goes last: first to the trash, from where it comes back, and when nothing can fail any more, for good.
    """

    PULL = 0
    DEFINE = 1
    """A definition is there before what it defines, and until after: nothing on the host is ever unaccounted for."""
    FOLDER = 2
    DEFINE_GUEST = 3
    """A guest's definition lies in its folder."""
    DISK = 4
    SEED = 5
    STOP = 6
    DETACH_ROUTER = 7
    DETACH = 8
    """Ports and disks that go, or move elsewhere."""
    DETACH_NETWORK = 9
    NETWORK = 10
    GROUP = 11
    """Before the ports whose rules name them."""
    ROUTER = 12
    PORT = 13
    START = 14
    CLEAR_GROUP = 15
    """After the ports whose rules named them."""
    FORGET = 16
    """Definitions of what has gone. Before TRASH: undone in reverse, the folder is back before its definition."""
    TRASH = 17
    EMPTY_TRASH = 18
    REMOVE_IMAGE = 19
    """After the trash: a disk in there may be linked to the image."""


class Builder:
    """Steps are added in any order; the plan's order depends on their phase, sub-stage and names alone."""

    def __init__(self) -> None:
        self._steps: list[tuple[tuple[Phase, int], Step]] = []
        self._notes: dict[Note, None] = {}

    def add(self, phase: Phase, step: Step, sub: int = 0) -> None:
        """sub: order within a phase; steps of equal phase and sub are independent of each other."""
        self._steps.append(((phase, sub), step))

    def note(self, ref: Ref | None, text: str, refuses: bool = False) -> None:
        self._notes[Note(ref=ref, text=text, refuses=refuses)] = None

    @property
    def notes(self) -> tuple[Note, ...]:
        """Refusals first, then by object."""
        return tuple(sorted(self._notes, key=lambda note: (not note.refuses, str(note.ref or ""), note.text)))

    def steps(self) -> tuple[Step, ...]:
        """All steps in order, with their stage numbers."""
        ordered = sorted(self._steps, key=lambda item: (item[0], item[1].ref.kind, item[1].ref.name, item[1].summary))
        stages = {key: number for number, key in enumerate(sorted({key for key, _ in ordered}))}
        return tuple(_at_stage(step, stages[key]) for key, step in ordered)


def _at_stage(step: Step, stage: int) -> Step:
    return Step(
        verb=step.verb,
        ref=step.ref,
        summary=step.summary,
        stage=stage,
        requests=step.requests,
        undo=step.undo,
        work=step.work,
        text=step.text,
        volatile=step.volatile,
    )


def guest_ref(name: str) -> Ref:
    return Ref(Kind.GUEST, name)
