"""The one door for processes of the root side: argv lists, no shell, a clean environment, a deadline."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from .handlers import Failure

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin", "LC_ALL": "C"}


def run(argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> bytes:
    """Run a tool to its end and return its output; raises Failure with what it wrote to stderr."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, env=ENVIRONMENT, timeout=timeout, check=False)
    except FileNotFoundError:
        raise Failure("unsupported", f"{argv[0]} is not installed on this host") from None
    except subprocess.TimeoutExpired:
        raise Failure("timeout", f"{argv[0]} did not end within {timeout:.0f} s") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        # nft writes the error first and draws a line below what it means; most others end with the reason.
        reason = next((line for line in lines if "Error: " in line), lines[-1])
        raise Failure("failed", f"{argv[0]}: {reason} (exit {done.returncode})")
    return done.stdout


def installed(program: str) -> bool:
    """Whether this host has a program where `run` looks for it."""
    return any(os.access(f"{folder}/{program}", os.X_OK) for folder in ENVIRONMENT["PATH"].split(":"))
