"""Handlers about what is used and whether all is well."""

from __future__ import annotations

import msgspec
from skep import readings, wire

from .route import Answer, Call


def health(call: Call) -> Answer:
    return Answer(msgspec.convert(call.engine.health(), readings.Health))


def guest_metrics(call: Call) -> Answer:
    return Answer(readings.Metrics(**call.engine.metrics(call.name, call.query_as(wire.SpanQuery).span)))


def host_metrics(call: Call) -> Answer:
    return Answer(readings.Metrics(**call.engine.metrics(None, call.query_as(wire.SpanQuery).span)))
