"""Handlers about the host as a whole: host, doctor, plan, apply, export, operations, tokens, the caller."""

from __future__ import annotations

import dataclasses

import msgspec
from skep import readings, wire

from skepd.engine.contract import Operation
from skepd.plan.steps import Plan

from .problems import ApiError
from .route import Answer, Call


def host(call: Call) -> Answer:
    facts = msgspec.to_builtins(call.engine.facts())
    return Answer(readings.Host(facts=facts, status=call.engine.host_status()))


def inventory(call: Call) -> Answer:
    return Answer(readings.Inventory(**call.engine.inventory()))


def doctor(call: Call) -> Answer:
    return Answer(call.engine.doctor())


def plan(call: Call) -> Plan:
    request = call.body_as(wire.SiteText)
    return call.engine.plan_site(request.text, request.file)


def prepare(call: Call) -> Answer:
    request = call.body_as(wire.PrepareRequest)
    found = call.engine.prepare(request.text, request.file, check=request.check)
    return Answer(tuple(readings.Need(**dataclasses.asdict(need)) for need in found))


def apply(call: Call) -> Operation:
    request = call.body_as(wire.ApplyRequest)
    return call.engine.apply_site(request.text, request.file, restart=request.restart)


def down(call: Call) -> Operation:
    return call.engine.quiesce()


def export(call: Call) -> Answer:
    return Answer(call.engine.export().encode())


def plan_to_wire(value: Plan) -> wire.Plan:
    steps = tuple(
        wire.PlanStep(verb=step.verb, ref=str(step.ref), summary=step.summary, stage=step.stage) for step in value.steps
    )
    notes = tuple(
        wire.PlanNote(ref=str(note.ref) if note.ref else None, text=note.text, refuses=note.refuses)
        for note in value.notes
    )
    return wire.Plan(steps=steps, notes=notes, confirm=value.confirm)


def operations(call: Call) -> Answer:
    return Answer(call.engine.operations(call.query_as(wire.LimitQuery).limit))


def operation(call: Call) -> Answer:
    return Answer(call.engine.operation(call.params["id"]))


def cancel(call: Call) -> Operation:
    return call.engine.cancel(call.params["id"])


def confirm(call: Call) -> Operation:
    return call.engine.confirm(call.params["id"])


def tokens(call: Call) -> Answer:
    return Answer(call.tokens.all())


def create_token(call: Call) -> Answer:
    request = call.body_as(wire.NewToken)
    created = call.tokens.create(request.name, request.role)
    return Answer(created, 201, {"Location": f"/v1/tokens/{created.id}"})


def revoke_token(call: Call) -> Answer:
    if not call.tokens.revoke(call.params["id"]):
        raise ApiError(404, f"there is no token {call.params['id']!r}", "`skep token list` shows those there are")
    call.access.endings.end(f"token:{call.params['id']}", "the token was revoked")
    return Answer(None, 204)
