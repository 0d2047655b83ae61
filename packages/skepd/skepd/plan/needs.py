"""What a machine must have before Skep can run on it: lines of the administrator's files, and commands for root.

A platform says what its machines need (``skepd.platform.freebsd.prepare``), from a site and from what the machine has.
Nothing here is ever written by Skep.
"""

from __future__ import annotations

from dataclasses import dataclass

COMMAND = "command"
"""The place of a need that is met by a command."""
PRESENT, MISSING, DIFFERENT, PENDING = "present", "missing", "different", "pending"


@dataclass(frozen=True, kw_only=True)
class Need:
    """place: the file that the line belongs into, or COMMAND. line: as it is to be written there (several lines for a
    section), or the command. reason: for people. state: empty when nobody looked; PENDING is written, but not in effect
    yet. found: what is there in its place, or what is to be done about it."""

    place: str
    line: str
    reason: str
    state: str = ""
    found: str = ""


def words_missing(value: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """Those of these words that a value of several words does not have."""
    have = value.split()
    return tuple(word for word in words if word not in have)


def ready(needs: tuple[Need, ...]) -> bool:
    """Whether all of it was looked at and is there."""
    return all(need.state == PRESENT for need in needs)
