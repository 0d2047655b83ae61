"""Long requests, each in a process of its own: a forked child runs the handler and tells the helper how it goes.

The child is a process group of its own, so that it ends together with the tools that it started. It learns by a byte
(or by the end) of its socket that it is to stop: Cancel, the client gone, the deadline over, or the helper dead.
One that does not stop within GRACE is killed. Nothing here blocks the helper.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from . import log, wire
from .codec import encode
from .handlers import Context, Failure
from .outcome import outcome_of

GRACE = 5.0
LONGEST = 6 * 3600.0
_MARGIN = 600.0
_BETWEEN_PROGRESS = 0.2


@dataclass
class Result:
    """How a request ended: an answer of JSON types with descriptors, or a code and a message."""

    answer: Any = None
    descriptors: tuple[int, ...] = ()
    code: str = ""
    message: str = ""


def deadline_of(request: Any) -> float:
    """Seconds that a long request may take: what it says itself and ten minutes (a VMM that was told to stop still
    has to write what it holds to its disks), or six hours."""
    timeout = getattr(request, "timeout", None)
    return LONGEST if timeout is None else timeout + _MARGIN


class Job:
    """A long request under way. `socket` is readable when there is news for `read`."""

    def __init__(self, work: Callable[[Context], Any], context: Context, seconds: float, name: str) -> None:
        self.name = name
        self.socket, child = socket.socketpair()
        self._reader = wire.Reader(wire.ANSWER_LIMIT)
        self._ends = time.monotonic() + seconds
        self._kill_at: float | None = None
        self._stopped_for = ""
        self.pid = os.fork()
        if self.pid == 0:
            _child(child, work, context)
        child.close()
        self.socket.setblocking(False)
        # In both processes, because either may come first.
        with suppress(OSError):
            os.setpgid(self.pid, self.pid)

    def read(self, progress: Callable[[int, int], None]) -> Result | None:
        """Take what the child says; its result once it has one."""
        try:
            while True:
                frame = self._reader.read(self.socket)
                if frame is None:
                    continue
                result = self._heard(frame, progress)
                if result:
                    return result
        except BlockingIOError:
            return None
        except (wire.Closed, OSError):
            return Result(code="failed", message="its process died; see the log, and repeat the request")

    def _heard(self, frame: wire.Frame, progress: Callable[[int, int], None]) -> Result | None:
        message = json.loads(frame.data)
        if "progress" in message:
            progress(*message["progress"])
            return None
        if message["code"] == "cancelled" and self._stopped_for:
            return self._stopped()
        return Result(message["answer"], frame.descriptors, message["code"], message["message"])

    def _stopped(self) -> Result:
        words = {
            "cancelled": "cancelled; what it had begun was taken back",
            "timeout": "it took longer than it may and was ended",
            "lost": "the helper is being restarted; repeat the request",
        }
        return Result(code=self._stopped_for, message=words[self._stopped_for])

    def stop(self, why: str) -> None:
        """Ask it to stop, which it does at its next report of progress. why: cancelled, timeout or lost."""
        if not self._stopped_for:
            self._stopped_for = why
            self._kill_at = time.monotonic() + GRACE
            with suppress(OSError):
                self.socket.send(b"c")

    def due(self) -> float:
        """When `expire` has something to do, in terms of time.monotonic."""
        return self._ends if self._kill_at is None else self._kill_at

    def expire(self) -> Result | None:
        """Enforce the deadline and the grace; the result of a job that had to be killed."""
        now = time.monotonic()
        if self._kill_at is None and now >= self._ends:
            self.stop("timeout")
        if self._kill_at is not None and now >= self._kill_at:
            log.line("killed", request=self.name, pid=self.pid, why=self._stopped_for)
            return self._stopped()
        return None

    def end(self) -> None:
        """Close everything and kill what is left of its process group. `reaped` is to be asked until it says so."""
        self._reader.close()
        self.socket.close()
        with suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)

    def reaped(self) -> bool:
        """Whether the process is gone for good; one that hangs in the kernel may take its time."""
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True


class _Reports:
    """The child's side of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._last = 0.0
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ)

    def progress(self, done: int, total: int) -> None:
        if self._selector.select(0):
            raise Failure("cancelled", "cancelled")
        now = time.monotonic()
        if now - self._last >= _BETWEEN_PROGRESS:
            self._last = now
            self.send({"progress": [done, total]})

    def send(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        writer = wire.Writer()
        writer.add(message, descriptors)
        try:
            writer.write(self._connection)
        except OSError:
            writer.close()
            raise Failure("cancelled", "the helper is gone") from None


def _child(connection: socket.socket, work: Callable[[Context], Any], context: Context) -> None:
    """Never returns. Everything that belongs to the helper is closed first."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL if number != signal.SIGPIPE else signal.SIG_IGN)
        close_others({connection.fileno(), *context.descriptors})
        reports = _Reports(connection)
        context.progress = reports.progress
        outcome = outcome_of(lambda: encode(work(context)))
        message = {"answer": outcome.answer, "code": outcome.code, "message": outcome.message}
        reports.send(message, tuple(context.answer_descriptors))
        code = 0
    except Failure as error:
        log.line("abandoned", reason=error)
    except BaseException as error:  # noqa: BLE001 - there is nobody above this: tell it and end
        log.line("defect", kind=type(error).__name__, error=error)
    finally:
        os._exit(code)


def close_others(kept: set[int]) -> None:
    """Close every descriptor above standard error except these."""
    start = 3
    for descriptor in sorted(kept):
        os.closerange(start, descriptor)
        start = max(start, descriptor + 1)
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))
