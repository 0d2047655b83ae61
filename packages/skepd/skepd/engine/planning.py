"""From a wish to a plan: what somebody asks for, checked against the definitions and against work under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from skepd.model.checks import check
from skepd.model.definitions import validate
from skepd.model.desired import Desired, ref_of
from skepd.model.errors import DefinitionErrors, nearest
from skepd.model.facts import HostFacts
from skepd.model.names import Kind, Manager, Ref
from skepd.model.objects import Guest, Object
from skepd.plan.cache import Cache
from skepd.plan.observed import Observed
from skepd.plan.options import PlanOptions
from skepd.plan.planner import plan
from skepd.plan.steps import Plan

from .actions import Actions
from .contract import Conflict, Refused, Unknown
from .live import Planned
from .operations import Operations, Planner
from .ownership import check_owner, without_guest
from .references import needed
from .store import PARTS, Store, amended, changes, including, without


class Wish(NamedTuple):
    """A change that somebody asks for. refs: what it is about, before it is planned."""

    title: str
    manager: Manager
    planner: Planner
    refs: frozenset[Ref]


class Planning:
    """Makes wishes of what the API asks for, and plans of wishes. Changes nothing. Thread-safe."""

    def __init__(self, store: Store, operations: Operations, observe: Callable[[], Observed], facts: HostFacts) -> None:
        self._store, self._operations, self._observe, self._facts = store, operations, observe, facts
        self.cache = Cache()
        # plan's cache is one per host and not thread-safe; readers and operations plan one after the other.
        self.lock = threading.RLock()

    # --- wishes ---------------------------------------------------------------------------------------------------

    def putting(self, value: Object, manager: Manager, etag: str | None, take_over: bool) -> Wish:
        value = validate(replace(value, manager=manager))
        ref = ref_of(value)

        def change(before: Desired) -> Desired:
            self._precondition(before, ref, manager, etag, take_over)
            return including(before, value)

        words = "change" if etag not in (None, "*") or self._exists(ref) else "create"
        return Wish(f"{words} {ref.kind.value} {ref.name}", manager, self.planner(change), frozenset({ref}))

    def putting_all(self, values: Sequence[tuple[Object, str | None]], manager: Manager, take_over: bool) -> Wish:
        """Several objects with their etags, as one change: what refers to another of them finds it there."""
        checked = [(validate(replace(value, manager=manager)), etag) for value, etag in values]

        def change(before: Desired) -> Desired:
            after = before
            for value, etag in checked:
                self._precondition(before, ref_of(value), manager, etag, take_over)
                after = including(after, value)
            return after

        refs = [ref_of(value) for value, _ in checked]
        words = "change" if any(map(self._exists, refs)) else "create"
        named = f"{refs[0].kind.value} {refs[0].name}" + (f" and {len(refs) - 1} more" if len(refs) > 1 else "")
        return Wish(f"{words} {named}", manager, self.planner(change), frozenset(refs))

    def deleting(self, ref: Ref, manager: Manager, etag: str | None, take_over: bool) -> Wish:
        self.object(ref)

        def change(before: Desired) -> Desired:
            self._precondition(before, ref, manager, etag, take_over)
            return without_guest(before, ref.name) if ref.kind is Kind.GUEST else without(before, ref)

        return Wish(f"delete {ref.kind.value} {ref.name}", manager, self.planner(change), frozenset({ref}))

    def acting(self, name: str, action: str, options: dict[str, Any]) -> Wish:
        ref = Ref(Kind.GUEST, name)
        manager = self.object(ref).manager

        def make() -> Planned:
            before = after = self._store.desired

            def plans(wanted: Desired, observed: Observed, plan_options: PlanOptions) -> Plan:
                nonlocal after
                after = wanted
                self._verify(before, after)
                return self._make_plan(before, after, observed, plan_options)

            return _planned(before, after, Actions(before, self._observe(), plans).of(name, action, options))

        refs = {ref, Ref(Kind.GUEST, options["target"])} if "target" in options else {ref}
        return Wish(f"{action} guest {name}", manager, make, frozenset(refs))

    # --- plans ----------------------------------------------------------------------------------------------------

    def planner(self, change: Callable[[Desired], Desired], options: PlanOptions | None = None) -> Planner:
        """Plans from the definitions as they are when it is called to change(them). Raises what change raises."""
        options = options or PlanOptions()

        def optional(before: Desired) -> tuple[Desired, PlanOptions]:
            after = change(before)
            # A guest that is defined anew because its file is broken finds its own folder there.
            broken = {ref.name for ref in self._store.broken if ref.kind is Kind.GUEST and ref.name in after.guests}
            return after, replace(options, adopt=options.adopt | broken) if broken else options

        return self.with_options(optional)

    def with_options(self, change: Callable[[Desired], tuple[Desired, PlanOptions]]) -> Planner:
        def make() -> Planned:
            # One reading of the store for both sides: a change of somebody else in between would be taken back.
            before = self._store.desired
            after, options = change(before)
            self._verify(before, after)
            return _planned(before, after, self._make_plan(before, after, self._observe(), options))

        return make

    def rehearse(self, planner: Planner) -> Plan:
        """Plan once now, so that what cannot be done is refused at once and not by an operation. What stands against
        it because of an operation under way is looked at again when that has ended. Raises Refused."""
        found = planner().plan
        notes = [note for note in found.notes if note.refuses]
        refused = [note.text for note in notes if note.ref is None or not self._operations.holds(note.ref)]
        if refused:
            raise Refused("; ".join(refused))
        return found

    def object(self, ref: Ref) -> Object:
        """The definition of an object. Raises Unknown, which names the nearest one."""
        part: dict[str, Object] = getattr(self._store.desired, PARTS[ref.kind])
        if ref.name not in part:
            hint = nearest(ref.name, part)
            raise Unknown(f"there is no {ref.kind.value} {ref.name!r}" + (f": {hint}" if hint else ""))
        return part[ref.name]

    def _make_plan(self, before: Desired, after: Desired, observed: Observed, options: PlanOptions) -> Plan:
        with self.lock:
            return plan(before, after, observed, self._facts, options, cache=self.cache)

    def _verify(self, before: Desired, after: Desired) -> None:
        """Raises DefinitionErrors for what a change would break, now or when operations under way have ended.

        What was broken before is not its fault.
        """
        made = [(ref, new) for ref, old, new in changes(before, after) if not _only_power(old, new)]
        if not made:
            return
        for world in (before, *self._operations.worlds(before)):
            found = check(amended(world, made), self._facts)
            known = {str(error) for error in check(world, self._facts)} if found else set()
            found = [error for error in found if str(error) not in known]
            if found:
                raise DefinitionErrors(found)

    def _exists(self, ref: Ref) -> bool:
        return ref.name in getattr(self._store.desired, PARTS[ref.kind])

    def _precondition(self, before: Desired, ref: Ref, manager: Manager, etag: str | None, take_over: bool) -> None:
        there: Object | None = getattr(before, PARTS[ref.kind]).get(ref.name)
        if etag == "*" and there is not None:
            raise Conflict(f"{ref} exists already")
        if etag not in (None, "*") and (there is None or self._store.etag(there) != etag):
            raise Conflict(f"{ref} has changed since it was read: read it again")
        check_owner(ref, there, manager, take_over)


def _planned(before: Desired, after: Desired, found: Plan) -> Planned:
    needs = needed(after, {step.ref for step in found.steps})
    return Planned(plan=found, needs=needs, changes=changes(before, after))


def _only_power(old: Object | None, new: Object | None) -> bool:
    return isinstance(old, Guest) and isinstance(new, Guest) and replace(old, power=new.power) == new
