"""Work beside other work: what waits for the disk goes on while a VMM starts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class Meanwhile:
    """Works done one after the other, in a thread, from ``begin`` on.

    Leaving the context waits for all of them, begun or not, and raises what the first one that failed raised, unless
    something else is on its way out. After one that failed the others are still done.
    """

    def __init__(self) -> None:
        self._works: list[Callable[[], object]] = []
        self._errors: list[BaseException] = []
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Meanwhile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.begin()
        assert self._thread is not None
        self._thread.join()
        if self._errors and error is None:
            raise self._errors[0]

    def add(self, work: Callable[[], object]) -> None:
        assert self._thread is None, "what is added after the beginning is never done"
        self._works.append(work)

    def begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run)
            self._thread.start()

    def _run(self) -> None:
        for work in self._works:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for, whatever it is
                self._errors.append(error)
