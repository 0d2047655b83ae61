"""Freezing a guest's file systems through its agent, and thawing them whoever else dies."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .agent import Agent
from .loop import Loop, Task
from .protocol import GuardError

AGENT = 3.0
"""Seconds in which an agent answers if there is one."""
FREEZE = 30.0


class Freezer:
    """ "frozen" of the guard's state: the agent froze the guest and nobody thawed it yet. path: the agent's socket."""

    def __init__(self, loop: Loop, path: str, state: dict[str, Any], changed: Callable[[], None]) -> None:
        self._loop = loop
        self._path = path
        self._state = state
        self._changed = changed
        self._turn = 0

    def freeze(self) -> Task:
        """Freeze by the agent; False when there is none, or it cannot."""
        if self._state["state"] != "running" or not self._path or not os.path.exists(self._path):
            return False
        agent = Agent(self._loop, self._path)
        try:
            yield from agent.open(AGENT)
            # Recorded before it is done: whoever comes after us must thaw.
            self._state["frozen"] = True
            self._changed()
            yield from agent.call("guest-fsfreeze-freeze", FREEZE)
        except (GuardError, OSError):
            return False
        finally:
            agent.close()
        return True

    def freeze_for(self, seconds: float) -> Task:
        """Freeze for somebody else, who thaws; after these seconds it is thawed in any case."""
        yield from self.thaw()
        frozen = yield from self.freeze()
        if not frozen:
            yield from self.thaw()
            return False
        turn = self._turn
        self._loop.later(seconds, lambda: self._overdue(turn))
        return True

    def _overdue(self, turn: int) -> None:
        if turn == self._turn:
            self._loop.start(self.thaw())

    def thaw(self) -> Task:
        """Thaw what was frozen, also by a killed guard. The agent thaws by itself as well when its guest restarts, so
        that a failure here is kept as a message and not raised."""
        self._turn += 1
        if not self._state.get("frozen"):
            return
        agent = Agent(self._loop, self._path)
        try:
            yield from agent.open(FREEZE)
            yield from agent.call("guest-fsfreeze-thaw", FREEZE)
            self._state["frozen"] = False
        except (GuardError, OSError) as error:
            self._state["message"] = f"its file systems may still be frozen: {error}"
        finally:
            agent.close()
            self._changed()
