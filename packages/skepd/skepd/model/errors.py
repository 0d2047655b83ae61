"""The one error of definitions: what is wrong, where, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass
class DefinitionError(ValueError):
    """A definition that cannot be accepted.

    file and line (1-based, 0 for unknown) say where; hint says what to write instead. path: the keys that lead to
    the place, as they are written (("guest", "files", "disk", "0", "size")).
    """

    problem: str
    hint: str = ""
    file: str = ""
    line: int = 0
    path: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[DefinitionError, ...]:
        """This error; of several together (DefinitionErrors) each."""
        return (self,)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        return f"{place}{self.problem}" + (f"; {self.hint}" if self.hint else "")


class DefinitionErrors(DefinitionError):
    """Several problems found together. Its own fields are those of the first; its text has a line for each."""

    def __init__(self, errors: Sequence[DefinitionError]) -> None:
        first = errors[0]
        super().__init__(first.problem, first.hint, first.file, first.line, first.path)
        self._errors = tuple(errors)

    @property
    def errors(self) -> tuple[DefinitionError, ...]:
        return self._errors

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self._errors)


def nearest(word: str, known: Iterable[str], what: str = "") -> str:
    """A hint: the known word that looks most like this one, or all known ones (at most twelve)."""
    words = [other for other in known if other]
    found = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if found:
        return f'did you mean "{found[0]}"?'
    if not words:
        return f"there is no {what} yet" if what else ""
    listed = ", ".join(words[:12]) + (", ..." if len(words) > 12 else "")
    return f"known are {listed}"
