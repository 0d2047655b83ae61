"""A change that can cut the line to the host waits to be confirmed, and tells so."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from engine_world import Life, Machine
from skepd.engine.contract import Event
from skepd.model.names import Manager
from skepd.model.objects import Network


def test_an_operation_that_waits_for_its_confirmation_is_told_by_an_event() -> None:
    engine = Life(Machine()).engine()
    engine.recover()
    with contextlib.closing(engine):
        begun = engine.put(Network(name="lan", kind="flat", uplink="eth0"), manager=Manager.USER)
        told = await_event(engine, "operation.confirming")
        assert told.ref == f"operation/{begun.id}"
        assert told.data == {"title": begun.title, "before": engine.operation(begun.id).confirm_before}
        assert engine.confirm(begun.id).state == "done"


def await_event(engine: object, kind: str) -> Event:
    after = 0
    while True:
        found = list(engine.events(after, 30.0))  # type: ignore[attr-defined]
        assert found, f"no event {kind} came"
        for event in found:
            after = event.number
            if event.kind == kind:
                return event
