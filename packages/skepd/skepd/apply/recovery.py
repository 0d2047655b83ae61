"""What becomes of operations that a crash cut off."""

from __future__ import annotations

from .journal import Record


def prepare(record: Record, boot_id: str) -> Record:
    """Make a record of a former run ready to be run again.

    Steps done stay done, unless the host has started anew since: then networks, ports and running guests are gone,
    and the steps that made them run again (every step may be repeated). Steps whose effect lasts are never repeated
    once they are done, so that what happened after them is not undone by repetition.
    """
    if record.boot_id != boot_id:
        record.done -= {number for number in record.done if record.steps[number].volatile}
        record.boot_id = boot_id
    return record
