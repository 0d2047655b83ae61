"""The one door for processes of the root side: argv lists, no shell, a clean environment, a deadline."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from .handlers import Failure

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin", "LC_ALL": "C"}
_TICK = 0.25
_DYING = 1.0
"""Seconds for a process that was killed to be gone. One that hangs in the kernel is not waited for."""


@dataclass(frozen=True)
class Done:
    """How a process ended: its exit status and what it wrote."""

    status: int
    output: bytes = b""
    errors: bytes = b""


def attempt(
    argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0, tick: Callable[[], None] | None = None
) -> Done:
    """Run a tool to its end, whatever its exit status.

    tick: called several times a second meanwhile (then without stdin); when it raises, the tool is ended.
    Raises Failure(unsupported) for a tool that is not installed, and Failure(timeout).
    """
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRONMENT)
    except FileNotFoundError:
        raise Failure("unsupported", f"{argv[0]} is not installed on this host") from None
    try:
        output, errors = _communicate(process, stdin, timeout, tick)
    except subprocess.TimeoutExpired:
        raise Failure("timeout", f"{argv[0]} did not end within {timeout:.0f} s") from None
    finally:
        _end(process)
    return Done(process.returncode, output, errors)


def _communicate(
    process: subprocess.Popen[bytes], stdin: bytes, timeout: float, tick: Callable[[], None] | None
) -> tuple[bytes, bytes]:
    if tick is None:
        return process.communicate(stdin, timeout)
    assert not stdin, "communicate() forgets what it was given once it was interrupted"
    end = time.monotonic() + timeout
    while True:
        try:
            return process.communicate(timeout=min(_TICK, max(end - time.monotonic(), 0.0)))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= end:
                raise
        tick()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what has not ended yet."""
    if process.poll() is None:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_DYING)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with suppress(OSError):  # what it did not read is lost with it
                stream.close()


def run(argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> bytes:
    """Run a tool to its end and return its output; raises Failure with what it wrote to stderr."""
    done = attempt(argv, stdin, timeout)
    if done.status != 0:
        lines = done.errors.decode(errors="replace").strip().splitlines() or ["no message"]
        # nft writes the error first and draws a line below what it means; most others end with the reason.
        reason = next((line for line in lines if "Error: " in line), lines[-1])
        raise Failure("failed", f"{argv[0]}: {reason} (exit {done.status})")
    return done.output


def installed(program: str) -> bool:
    """Whether this host has a program where `run` looks for it."""
    return any(os.access(f"{folder}/{program}", os.X_OK) for folder in ENVIRONMENT["PATH"].split(":"))
