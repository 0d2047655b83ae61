"""Handlers about what is used and whether all is well."""

from __future__ import annotations

from skep import wire

from .route import Answer, Call


def guest_metrics(call: Call) -> Answer:
    return Answer(wire.Metrics(**call.engine.metrics(call.name, call.query_as(wire.SpanQuery).span)))


def host_metrics(call: Call) -> Answer:
    return Answer(wire.Metrics(**call.engine.metrics(None, call.query_as(wire.SpanQuery).span)))
