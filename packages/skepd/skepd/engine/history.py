"""What was used in the time past, from the rings, in as many steps as a graph can show. Pure but for the rings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .rings import COARSE, FINE, Rings, Row

POINTS = 720
"""Steps of an answer at most."""


def history(rings: Rings, name: str, series: Sequence[str], now: float, span: int) -> dict[str, Any]:
    """The last `span` seconds: {"start", "step", "series": {name: [value or None]}}; start: of the first step."""
    level = FINE if span <= FINE.span else COARSE
    records = min(max(span // level.step, 1), level.records)
    together = math.ceil(records / POINTS)
    last = int(now) // level.step // together * together + together - 1
    first = last - math.ceil(records / together) * together + 1
    rows = rings.rows(name, level, first, last)
    parts = [rows[at : at + together] for at in range(0, len(rows), together)]
    return {
        "start": float(first * level.step),
        "step": level.step * together,
        "series": {key: [_mean(part, column) for part in parts] for column, key in enumerate(series)},
    }


def _mean(rows: list[Row], column: int) -> float | None:
    known = [row[column] for row in rows if not math.isnan(row[column])]
    return round(sum(known) / len(known), 4) if known else None
