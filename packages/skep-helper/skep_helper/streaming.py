"""The door for processes whose data flows while they run (see run): a stream goes in or out, what they say is heard."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from .handlers import Failure
from .run import ENVIRONMENT

_TICK = 0.2
_CHUNK = 1 << 20
_DYING = 1.0
"""Seconds for a process that was killed to be gone."""


class Streaming:
    """A tool whose data goes through a pipe or descriptor while it runs. status: None while it runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self._process = process
        self._errors = process.stderr.fileno()
        self._rest = b""
        self.told: list[str] = []
        self.status: int | None = None

    def feed(
        self,
        source: int,
        begun: bytes,
        seen: Callable[[int], None],
        passing: Callable[[bytes | memoryview], None] | None = None,
    ) -> None:
        """Pass `begun` and then all that comes from a descriptor to its standard input, until that ends or the tool
        does. seen(count): called several times a second with the bytes passed; what it raises ends the tool.
        passing(data): called with all that is passed, in order."""
        assert self._process.stdin is not None
        target, count, left = self._process.stdin.fileno(), 0, memoryview(begun)
        os.set_blocking(target, False)
        while self.status is None:
            seen(count)
            reading, writing = ([], [target]) if left else ([source], [])
            ready = select.select([*reading, self._errors], writing, [], _TICK)
            if self._errors in ready[0]:
                self._hear()
            if target in ready[1]:
                passed = _write(target, left)
                if passing is not None:
                    passing(left[:passed])
                count, left = count + passed, left[passed:]
            elif source in ready[0]:
                left = memoryview(os.read(source, _CHUNK))
                if not left:
                    break
        self._process.stdin.close()

    def end(self) -> None:
        """Kill it if it runs. One that hangs in the kernel is not waited for."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_DYING)
        for stream in (self._process.stdin, self._process.stderr):
            if stream:
                stream.close()

    def _hear(self) -> list[str]:
        """What it says now; its status when it has nothing more to say."""
        data = os.read(self._errors, 16384)
        if not data:
            self.status = self._process.wait()
        *whole, self._rest = (self._rest + data).split(b"\n")
        if not data and self._rest:
            whole.append(self._rest)
        lines = [line.decode(errors="replace") for line in whole]
        self.told = [*self.told, *lines][-100:]
        return lines

    def lines(self, tick: Callable[[], None]) -> Iterator[str]:
        """What it writes to stderr, line by line, until it ends. tick: called several times a second; what it
        raises ends the tool."""
        while self.status is None:
            tick()
            if select.select([self._errors], [], [], _TICK)[0]:
                yield from self._hear()


def _write(target: int, data: memoryview) -> int:
    """How many bytes went; a tool that ended reads no more, which its status tells."""
    try:
        return os.write(target, data)
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(data)


@contextmanager
def streaming(
    argv: Sequence[str], stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
) -> Iterator[Streaming]:
    """Run a tool with these descriptors (stdin may be subprocess.PIPE); it is killed when the block is left early."""
    try:
        process = subprocess.Popen(
            argv, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=ENVIRONMENT, close_fds=True
        )
    except FileNotFoundError:
        raise Failure("unsupported", f"{argv[0]} is not installed on this host") from None
    tool = Streaming(process)
    try:
        yield tool
    finally:
        tool.end()
