"""What becomes of operations that a crash cut off."""

from __future__ import annotations

from skep_helper.vocabulary import EmptyTrash

from skepd.plan.steps import Step

from .journal import Record


def prepare(record: Record, boot_id: str) -> Record:
    """Make a record of a former run ready to go on, forwards or backwards as its phase says.

    Steps done stay done. When the host has started anew since, nothing of what volatile steps did or found is left:
    they are neither done nor undone any more, and what the definitions then say is brought up by the repair that
    follows. A plan that can cut the line to the host goes back when nobody has confirmed it.
    """
    if record.boot_id != boot_id:
        record.skipped |= {number for number, step in enumerate(record.steps) if step.volatile}
        record.boot_id = boot_id
    if record.confirm and record.phase in ("doing", "confirming"):
        record.phase, record.error = "undoing", "skepd was restarted before it was confirmed"
    if record.phase == "emptying":
        record.skipped |= {number for number, step in enumerate(record.steps) if not empties_trash(step)}
    return record


def empties_trash(step: Step) -> bool:
    """Whether a step may be tried again at any later time: nobody else ever has its trash key."""
    return bool(step.requests) and all(isinstance(request, EmptyTrash) for request in step.requests)
