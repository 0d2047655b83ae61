"""A live operation, and which operations stand in each other's way."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from skepd.host import Host
from skepd.model.names import Ref
from skepd.plan.steps import Plan

from .contract import Operation


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan, and what it holds while it is carried out.

    needs: objects that it does not change, but that must stay as they are until it has ended. site: see Record.
    """

    plan: Plan
    site: str = ""
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

    refs, needs: what it holds; empty until it runs.
    """

    operation: Operation
    number: int
    intent: frozenset[Ref] = frozenset()
    cancel: threading.Event = field(default_factory=threading.Event)
    confirmed: threading.Event = field(default_factory=threading.Event)
    refs: frozenset[Ref] = frozenset()
    needs: frozenset[Ref] = frozenset()
    runs: bool = False
    host: Host | None = None

    def keeps_from_planning(self, other: Live) -> bool:
        """Whether `other` must not plan yet: this one is at work on what it is about, or came first."""
        if self.runs:
            return bool((self.refs | self.needs) & other.intent)
        return self.number < other.number and bool(self.intent & other.intent)

    def keeps_from_running(self, planned: Planned) -> bool:
        """Whether a plan must not be carried out while this one is at work."""
        refs = planned.refs
        return self.runs and bool((self.refs | self.needs) & refs or self.refs & planned.needs)
