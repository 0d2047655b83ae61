"""Handlers of what one does with a guest: actions, snapshots, serial history."""

from __future__ import annotations

from typing import Any

import msgspec
from skep.readings import SnapshotChanges
from skep.wire import NewSnapshot, RollbackOptions, SerialQuery, Snapshot, WorkQuery

from skepd.engine.contract import Operation, View
from skepd.model.names import Kind, Ref
from skepd.plan.steps import Plan

from .problems import ApiError
from .route import Answer, Call, Handler


def action(verb: str) -> Handler:
    """An action whose options are the body, as they stand; options left out or null are not passed on."""

    def act(call: Call) -> Operation | Plan:
        options: dict[str, Any] = msgspec.to_builtins(call.body)
        given = {key: value for key, value in options.items() if value is not None}
        return _act(call, verb, given)

    return act


def _act(call: Call, verb: str, options: dict[str, Any]) -> Operation | Plan:
    act = call.engine.plan_action if call.query_as(WorkQuery).dry_run else call.engine.guest_action
    return act(call.name, verb, options)


def snapshots(call: Call) -> Answer:
    return Answer(_snapshots(call.engine.view(Ref(Kind.GUEST, call.name))))


def snapshot(call: Call) -> Answer:
    for found in _snapshots(call.engine.view(Ref(Kind.GUEST, call.name))):
        if found.name == call.params["snapshot"]:
            return Answer(found)
    raise ApiError(404, f"guest {call.name} has no snapshot {call.params['snapshot']!r}")


def changes(call: Call) -> Answer:
    return Answer(msgspec.convert(call.engine.changes(call.name, call.params["snapshot"]), SnapshotChanges))


def create_snapshot(call: Call) -> Operation | Plan:
    wanted = call.body_as(NewSnapshot)
    options = {"snapshot": wanted.name, "quiesce": wanted.quiesce}
    return _act(call, "snapshot", options)


def roll_back(call: Call) -> Operation | Plan:
    options = {"snapshot": call.params["snapshot"], "start": call.body_as(RollbackOptions).start}
    return _act(call, "rollback", options)


def remove_snapshot(call: Call) -> Operation | Plan:
    return _act(call, "remove-snapshot", {"snapshot": call.params["snapshot"]})


def serial(call: Call) -> Answer:
    """Bytes of the serial history; the header Skep-Offset says where they begin."""
    query = call.query_as(SerialQuery)
    offset, data = call.engine.console_history(call.name, query.offset, query.length)
    return Answer(data, headers={"Skep-Offset": str(offset)})


def _snapshots(view: View) -> list[Snapshot]:
    return [msgspec.convert(entry, Snapshot) for entry in view.status.get("snapshots", ())]
