"""Results kept from one plan to the next, so that a plan costs by what changed and not by what there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from skep_helper.vocabulary import Rejected

T = TypeVar("T")

KINDS = ("network", "router", "port", "guest", "seed")
"""Kinds of results that belong to one object; those of a whole state have the name ""."""


class Cache:
    """One result per (kind, name), with the frozen inputs that it was made from.

    Inputs are compared with ``==`` on tuples, which Python decides by identity first: unchanged objects cost a
    pointer comparison. A Cache holds results of one host; give the same one to every plan of that host. It is not
    locked: plan in one thread at a time.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], tuple[tuple[object, ...], object]] = {}

    def remember(self, kind: str, name: str, inputs: tuple[object, ...], make: Callable[[], T]) -> T:
        """The result of make() for these inputs, kept. A Rejected that make raises is kept and raised again."""
        key = (kind, name)
        entry = self._entries.get(key)
        if entry is None or entry[0] != inputs:
            try:
                result: object = make()
            except Rejected as error:
                result = error
            entry = (inputs, result)
            self._entries[key] = entry
        if isinstance(entry[1], Rejected):
            raise entry[1]
        return entry[1]  # type: ignore[return-value]

    def forget(self, name: str) -> None:
        """Drop all results of an object that goes, so that a cache never grows beyond what there is."""
        for kind in KINDS:
            self._entries.pop((kind, name), None)
