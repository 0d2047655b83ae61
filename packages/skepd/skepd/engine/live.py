"""A live operation, and which operations stand in each other's way."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from skepd.host import Host
from skepd.model.definitions import parse_object
from skepd.model.errors import DefinitionError
from skepd.model.names import Ref
from skepd.model.objects import Object
from skepd.plan.steps import Plan, Step

from .contract import Operation
from .store import Changes


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan, and what it holds while it is carried out.

    needs: objects that it does not change, but that must stay as they are until it has ended. changes: of definitions.
    site: see Record.
    """

    plan: Plan
    site: str = ""
    changes: Changes = ()
    needs: frozenset[Ref] = frozenset()

    @property
    def refs(self) -> frozenset[Ref]:
        return frozenset(step.ref for step in self.plan.steps)

    @property
    def refusals(self) -> list[str]:
        return [note.text for note in self.plan.notes if note.refuses]


@dataclass
class Live:
    """number: rises from operation to operation. intent: what it is about, known before it is planned.

    refs, needs, changes: what it holds and what it does to definitions; empty until it runs.
    """

    operation: Operation
    number: int
    intent: frozenset[Ref] = frozenset()
    cancel: threading.Event = field(default_factory=threading.Event)
    confirmed: threading.Event = field(default_factory=threading.Event)
    refs: frozenset[Ref] = frozenset()
    needs: frozenset[Ref] = frozenset()
    changes: Changes = ()
    runs: bool = False
    host: Host | None = None

    def take(self, planned: Planned) -> None:
        """Begin to run with this plan."""
        self.refs, self.needs, self.changes, self.runs = planned.refs, planned.needs, planned.changes, True

    def keeps_from_planning(self, other: Live) -> bool:
        """Whether `other` must not plan yet: this one is at work on what it is about, or came first."""
        if self.runs:
            return bool((self.refs | self.needs) & other.intent)
        return self.number < other.number and bool(self.intent & other.intent)

    def keeps_from_running(self, planned: Planned) -> bool:
        """Whether a plan must not be carried out while this one is at work."""
        refs = planned.refs
        return self.runs and bool((self.refs | self.needs) & refs or self.refs & planned.needs)


def changes_of(steps: Iterable[Step]) -> Changes:
    """What the steps of a journal do to definitions; a text that nobody understands counts as none."""
    found = []
    for step in steps:
        if step.text is not None:
            ref = step.text.ref
            found.append((ref, _parsed(ref, step.text.before), _parsed(ref, step.text.after)))
    return tuple(found)


def _parsed(ref: Ref, text: str | None) -> Object | None:
    try:
        return None if text is None else parse_object(ref.kind, text, f"{ref}")
    except DefinitionError:
        return None
