"""The planner: from what should be and what is to the steps between them. Pure: no I/O, clock or randomness."""

from __future__ import annotations

from skepd.model.definitions import render_object
from skepd.model.desired import Desired
from skepd.model.facts import HostFacts

from .cache import Cache
from .checks import check_totals, note_foreign
from .context import Context, Render
from .definitions import plan_definitions
from .images import Images
from .networks import plan_groups, plan_networks, plan_routers
from .observed import Observed
from .options import PlanOptions
from .ports import plan_ports
from .power import Power
from .slots import settle
from .steps import Plan
from .storage import Storage


def plan(
    before: Desired,
    after: Desired,
    observed: Observed,
    facts: HostFacts,
    options: PlanOptions | None = None,
    *,
    render: Render = render_object,
    cache: Cache | None = None,
) -> Plan:
    """Steps that bring the host to `after` and write the definitions that changed.

    before: the definitions in the store now; equal to `after` when the host is only to be repaired.
    after: the definitions as they should be; devices without a slot get one (see slots.settle), which is in the
    texts that the plan writes. render: text of a definition. cache: one per host, kept from plan to plan.

    A plan with a refusing note has no steps. A plan made after another was carried out has none either.
    """
    after = settle(before, after)
    cache = cache if cache is not None else Cache()
    context = Context(before, after, observed, facts, options or PlanOptions(), cache, render)
    for difference in context.differences.values():
        for name in difference.removed:
            cache.forget(name)
    images = Images(context)
    images.plan_definitions()
    plan_networks(context)
    plan_groups(context)
    plan_routers(context)
    remade = plan_ports(context)
    Storage(context, images).plan()
    Power(context, images, remade).plan()
    images.plan_removals()
    plan_definitions(context)
    check_totals(context)
    note_foreign(context)
    notes = context.build.notes
    if any(note.refuses for note in notes):
        return Plan(notes=notes)
    return Plan(steps=context.build.steps(), notes=notes, confirm=context.confirm)
