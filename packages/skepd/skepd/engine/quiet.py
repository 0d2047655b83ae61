"""Everything down, nothing lost: of a plan that would delete all, the part that a power-off would do too."""

from __future__ import annotations

from dataclasses import replace

from skep_helper.vocabulary import RemoveNetwork, RemovePort, RemoveRouter, SetGroup, StopGuest

from skepd.plan.steps import Plan, Step

_VOLATILE = (StopGuest, RemovePort, RemoveRouter, RemoveNetwork, SetGroup)


def quieten(plan: Plan) -> Plan:
    """Only steps about what runs or exists in memory; definitions, folders and images stay.

    Notes are dropped: what stands against deleting an object does not stand against stopping it. But a refused plan
    has no steps to choose from and stays refused, so that nobody takes it for done.
    """
    if any(note.refuses for note in plan.notes):
        return Plan(notes=plan.notes)
    return Plan(steps=tuple(replace(step, undo=()) for step in plan.steps if _is_volatile(step)))


def _is_volatile(step: Step) -> bool:
    return bool(step.requests) and all(isinstance(request, _VOLATILE) for request in step.requests)
