"""The one door for programs of the installer: argv lists, output kept for the error."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from .progress import Trouble


def run(argv: Sequence[object], env: Mapping[str, str] | None = None, stdin: str | None = None) -> str:
    """Run a program quietly; raises Trouble with the end of what it wrote."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            env={**os.environ, **(env or {})},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise Trouble(f"{words[0]} is not installed") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()[-8:]
        raise Trouble(f"{' '.join(words[:4])} failed (exit {done.returncode}):\n  " + "\n  ".join(lines))
    return done.stdout


def succeeds(argv: Sequence[object]) -> bool:
    """Whether a program exists and exits with 0."""
    try:
        done = subprocess.run(
            [str(word) for word in argv], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def show(argv: Sequence[object], env: Mapping[str, str] | None = None) -> int:
    """Run a program whose output is the user's to see."""
    return subprocess.run([str(word) for word in argv], env={**os.environ, **(env or {})}, check=False).returncode
