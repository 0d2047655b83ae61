"""Guests that are started by several processes at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from skep_helper.handlers import Failure


def at_once(names: Sequence[str], start: Callable[[str, Callable[[], None]], None]) -> list[str]:
    """What becomes of them, "started" or the code of a refusal, sorted.

    start(name, begun): in a process of its own. begun() is to be called where its guard would begin, and returns once
    all are started or refused.
    """
    reader, writer = os.pipe()
    waiting, gate = os.pipe()
    children = []
    for name in names:
        pid = os.fork()
        if pid == 0:
            os.close(gate)
            _try(lambda begun, name=name: start(name, begun), writer, waiting)  # type: ignore[misc]
        children.append(pid)
    os.close(writer)
    os.close(waiting)
    with os.fdopen(reader) as stream:
        answers = [stream.readline().strip() for _ in names]
    os.close(gate)
    for pid in children:
        os.waitpid(pid, 0)
    return sorted(answers)


def _try(start: Callable[[Callable[[], None]], None], writer: int, waiting: int) -> None:
    def begun() -> None:
        os.write(writer, b"started\n")
        os.read(waiting, 1)

    try:
        start(begun)
    except Failure as failure:
        os.write(writer, f"{failure.code}\n".encode())
    except BaseException as error:
        os.write(writer, f"{error!r}\n".encode())
    finally:
        os._exit(0)
