"""What the parts of a plan share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from skep_helper.vocabulary import Rejected

from skepd.model.desired import Desired
from skepd.model.facts import HostFacts
from skepd.model.names import Kind, Ref
from skepd.model.objects import Object

from .builder import Builder
from .cache import Cache
from .observed import Observed
from .options import PlanOptions
from .translation import Translation

Render = Callable[[Any], str]


@dataclass(frozen=True)
class Difference:
    """Names of one kind, sorted: new ones, changed ones, and those that go."""

    created: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


def part_of(desired: Desired, kind: Kind) -> Mapping[str, Object]:
    parts: dict[Kind, Mapping[str, Object]] = {
        Kind.IMAGE: desired.images,
        Kind.FILTER: desired.filters,
        Kind.NETWORK: desired.networks,
        Kind.ROUTER: desired.routers,
        Kind.PORT: desired.ports,
        Kind.GUEST: desired.guests,
    }
    return parts[kind]


class Context:
    """Inputs of the plan, what has changed, and the steps so far.

    skipped: objects with a problem; nothing is done to them, nor to what needs them.
    """

    def __init__(
        self,
        before: Desired,
        after: Desired,
        observed: Observed,
        facts: HostFacts,
        options: PlanOptions,
        cache: Cache,
        render: Render,
    ) -> None:
        self.before, self.after, self.observed = before, after, observed
        self.facts, self.options, self.render = facts, options, render
        self.build = Builder()
        self.now = Translation(after, cache)
        # Asked for changed objects only, to say how they come back; not worth remembering.
        self.was = Translation(before, Cache())
        self.differences = {kind: _difference(part_of(before, kind), part_of(after, kind)) for kind in Kind}
        self.touched = {
            Ref(kind, name)
            for kind, difference in self.differences.items()
            for name in (*difference.created, *difference.changed)
        }
        self.changes = any(d.created or d.changed or d.removed for d in self.differences.values())
        self.skipped: set[Ref] = set()
        self.confirm = False

    def problem(self, ref: Ref, text: str, dangling: bool = False) -> None:
        """Something that stands against an object.

        Of a changed object, or a reference that nothing answers (any change may have caused it): refuses the plan.
        Of an unchanged one: the object is left as it is, so that one broken guest never keeps the others down.
        """
        if f"{ref.kind} {ref.name}" not in text:
            text = f"{ref.kind} {ref.name}: {text}"
        refuses = ref in self.touched or (dangling and self.changes)
        self.build.note(ref, text if refuses else f"{text} (left as it is)", refuses)
        self.skipped.add(ref)

    def translated(self, kind: Kind, name: str, make: Callable[[str], Any]) -> Any:
        """make(name), or None with a problem of this object noted."""
        try:
            return make(name)
        except Rejected as error:
            self.problem(Ref(kind, name), str(error), dangling=True)
            return None

    def previous(self, make: Callable[[str], Any], name: str) -> Any:
        """make(name) of the state before, or None when it cannot be said any more."""
        try:
            return make(name)
        except (Rejected, KeyError):
            return None

    def key(self, purpose: str) -> str:
        """A trash key that nothing lies under yet; the same for equal inputs."""
        removed = [(kind, self.differences[kind].removed) for kind in Kind]
        number = 0
        while True:
            text = f"{purpose} {removed} {sorted(self.observed.storage.trash)} {number}"
            found = hashlib.sha256(text.encode()).hexdigest()[:32]
            if found not in self.observed.storage.trash:
                return found
            number += 1


def _difference(before: Mapping[str, Object], after: Mapping[str, Object]) -> Difference:
    if before is after:
        return Difference((), (), ())
    created, changed = [], []
    for name, value in after.items():
        old = before.get(name)
        if old is None:
            created.append(name)
        elif old is not value and old != value:
            changed.append(name)
    removed = [name for name in before if name not in after]
    return Difference(tuple(sorted(created)), tuple(sorted(changed)), tuple(sorted(removed)))
