"""Handlers of the simulated host by request type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Table = dict[type, Callable[[Any], Any]]
