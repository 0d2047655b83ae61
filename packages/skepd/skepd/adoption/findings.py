"""What the conversion has to say to people: what refuses a guest, and what of it changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """place: FILE:LINE, or FILE. refuses: whether the guest cannot be taken over because of this."""

    place: str
    text: str
    refuses: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def sorted_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Each once, refusals first, then as the lines of the files."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda found: (not found.refuses, *_place(found.place))))


def _place(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdigit() else (place, 0)
