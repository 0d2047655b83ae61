"""The one error of definitions: what is wrong, where, and what to write instead."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class DefinitionError(ValueError):
    """A definition that cannot be accepted.

    file and line (1-based, 0 for unknown) say where; hint says what to write instead.
    """

    problem: str
    hint: str = ""
    file: str = ""
    line: int = 0
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        return f"{place}{self.problem}" + (f"; {self.hint}" if self.hint else "")
