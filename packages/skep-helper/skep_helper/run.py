"""The one door for processes of the root side: argv lists, no shell, a clean environment, a deadline."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import processes
from .handlers import Failure

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin", "LC_ALL": "C"}


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
    try:
        done = processes.finish(argv, stdin, ENVIRONMENT, timeout, tick)
    except FileNotFoundError:
        raise Failure("unsupported", f"{argv[0]} is not installed on this host") from None
    except processes.Late as late:
        raise Failure("timeout", str(late)) from None
    return Done(done.returncode, done.stdout, done.stderr)


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
