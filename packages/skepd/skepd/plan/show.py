"""A plan as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from skepd.model.names import Ref

from .steps import Plan, Step

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SIGNS = {
    "create": "+",
    "define": "+",
    "pull": "+",
    "change": "~",
    "remove": "-",
    "forget": "-",
    "start": ">",
    "stop": ">",
    "await": ">",
}


def size_text(size: int) -> str:
    """Bytes as people write them: 1 GiB, 512 MiB, 1.5 GiB."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f}".removesuffix(".0") + f" {_UNITS[unit]}"


def plan_text(plan: Plan, limit: int = 0) -> str:
    """Steps grouped by object with + (made), - (removed), ~ (changed) and > (started, stopped, waited for), the
    objects in the order of their first step; then notes; then a line of totals. limit: steps shown, 0 for all."""
    lines = list(_step_lines(plan.steps[:limit] if limit else plan.steps))
    if limit and len(plan.steps) > limit:
        lines.append(f"... and {len(plan.steps) - limit} more steps")
    lines += [f"{'refused' if note.refuses else 'note'}: {note.text}" for note in plan.notes]
    if plan.confirm:
        lines.append("note: this touches the line to the host: it is rolled back unless it is confirmed in time")
    lines.append(_totals(plan))
    return "\n".join(lines) + "\n"


def _step_lines(steps: Sequence[Step]) -> Iterator[str]:
    groups: dict[Ref, list[Step]] = {}
    for step in steps:
        groups.setdefault(step.ref, []).append(step)
    for ref, own in groups.items():
        yield f"{ref.kind} {ref.name}"
        for step in own:
            yield f"  {_sign(step)} {step.summary}"


def _sign(step: Step) -> str:
    return _SIGNS.get(step.verb, "~")


def _totals(plan: Plan) -> str:
    if any(note.refuses for note in plan.notes):
        return "nothing is changed: the plan is refused"
    if not plan.steps:
        return "nothing to change"
    counts = {sign: sum(_sign(step) == sign for step in plan.steps) for sign in "+~->"}
    words = {"+": "made", "~": "changed", "-": "removed", ">": "started, stopped or waited for"}
    parts = ", ".join(f"{count} {words[sign]}" for sign, count in counts.items() if count)
    return f"{len(plan.steps)} steps: {parts}"
