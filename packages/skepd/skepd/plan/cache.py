"""Results kept from one plan to the next, so that a plan costs by what changed and not by what there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from skep_helper.vocabulary import Rejected

T = TypeVar("T")


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

    def keep_only(self, kind: str, names: frozenset[str] | set[str]) -> None:
        """Forget the results of objects that are gone."""
        for key in [key for key in self._entries if key[0] == kind and key[1] not in names]:
            del self._entries[key]
