"""Handlers about what is used and whether all is well."""

from __future__ import annotations

import msgspec
from skep import readings

from .route import Answer, Call


def health(call: Call) -> Answer:
    return Answer(msgspec.convert(call.engine.health(), readings.Health))


def exposition(call: Call) -> Answer:
    return Answer(call.engine.exposition().encode())


def guest_metrics(call: Call) -> Answer:
    return Answer(readings.Metrics(**call.engine.metrics(call.name, call.query_as(readings.SpanQuery).span)))


def host_metrics(call: Call) -> Answer:
    return Answer(readings.Metrics(**call.engine.metrics(None, call.query_as(readings.SpanQuery).span)))
