"""Boot order: in which waves guests start, and in reverse stop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from skepd.model.objects import Guest

Wave = tuple[int, int]


class BootOrder:
    """Guests of equal `order` start together, except that each waits for those in its `after`.

    A guest is never earlier than what it waits for: one with a lower `order` than a guest in its `after` starts
    after that one.
    """

    def __init__(self, guests: Mapping[str, Guest]) -> None:
        self._guests = guests
        self._waves: dict[str, Wave] = {}

    def wave(self, name: str) -> Wave:
        """Where a guest stands; guests of a lower wave come before it. References to unknown guests do not count.

        A cycle, which the model refuses, is cut where it closes.
        """
        stack, open_names = [name], set()
        while stack:
            current = stack[-1]
            if current in self._waves:
                stack.pop()
                continue
            open_names.add(current)
            waiting = [other for other in self._after(current) if other not in self._waves and other not in open_names]
            if waiting:
                stack.extend(waiting)
                continue
            self._waves[current] = self._place(current)
            stack.pop()
        return self._waves[name]

    def _after(self, name: str) -> Iterable[str]:
        return [other for other in self._guests[name].boot.after if other in self._guests]

    def _place(self, name: str) -> Wave:
        waits = [self._waves[other] for other in self._after(name) if other in self._waves]
        order = max([self._guests[name].boot.order, *(wave[0] for wave in waits)])
        depth = max([0, *(wave[1] + 1 for wave in waits if wave[0] == order)])
        return order, depth


def numbered(waves: Iterable[Wave]) -> dict[Wave, int]:
    """Waves as 0, 1, 2, ... in their order."""
    return {wave: number for number, wave in enumerate(sorted(set(waves)))}
