"""Errors of checks: about objects, not about texts. A site translates their paths to places in its text."""

from __future__ import annotations

from collections.abc import Iterator

from .errors import DefinitionError
from .names import Kind

Faults = Iterator[DefinitionError]


def fault(kind: Kind, name: str, path: tuple[str | int, ...], problem: str, hint: str) -> DefinitionError:
    """What is wrong with an object, at these keys of it."""
    keys = tuple(str(key) for key in path)
    return DefinitionError(f"{kind} {name}: {problem}", hint, path=(str(kind), name, *keys))
