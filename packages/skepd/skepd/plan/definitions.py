"""Steps that write the definitions."""

from __future__ import annotations

from skepd.model.names import Kind, Ref

from .builder import Phase
from .context import Context, part_of
from .steps import Step, TextChange


def plan_definitions(context: Context) -> None:
    """One step for each object whose definition is new, changed or gone; texts are rendered here, once."""
    for kind, difference in context.differences.items():
        for name in difference.created:
            _write(context, Ref(kind, name), "define", "define")
        for name in difference.changed:
            _write(context, Ref(kind, name), "change", "change the definition of")
        for name in difference.removed:
            ref = Ref(kind, name)
            text = TextChange(ref=ref, before=context.render(part_of(context.before, kind)[name]), after=None)
            summary = f"remove the definition of {kind} {name}"
            context.build.add(Phase.FORGET, Step(verb="forget", ref=ref, summary=summary, text=text))


def _write(context: Context, ref: Ref, verb: str, words: str) -> None:
    old = part_of(context.before, ref.kind).get(ref.name)
    new = part_of(context.after, ref.kind)[ref.name]
    text = TextChange(ref=ref, before=context.render(old) if old else None, after=context.render(new))
    phase = Phase.DEFINE_GUEST if ref.kind is Kind.GUEST else Phase.DEFINE
    context.build.add(phase, Step(verb=verb, ref=ref, summary=f"{words} {ref.kind} {ref.name}", text=text))
