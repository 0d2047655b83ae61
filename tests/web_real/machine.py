"""The machine that `make up` started, as its administrator sees it from the command line."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]

URL = "https://localhost:8443"
TOOLS = "/var/lib/skep/venv/bin"
ADMINS = "journey-admin-"
ADMIN = ADMINS + secrets.token_hex(2)
"""Another one each time: the link makes one, and the last administrator of a machine cannot be deleted."""
OPERATOR, VIEWER = "journey-operator", "journey-viewer"
PASSWORD = "a sentence that nobody else would think of"
PATIENCE = 300.0


def run(*words: str, typed: str = "") -> str:
    """What `skep WORDS` prints. Raises CalledProcessError with what it said."""
    done = subprocess.run(
        [f"{TOOLS}/skep", *words], input=typed, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
    return done.stdout


def skep(*words: str) -> Any:
    return json.loads(run(*words, "--json"))


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait for a condition. Fails naming `what`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it never came true: {what}"
        time.sleep(0.5)


def serial(guest: str) -> str:
    return run("guest", "log", guest)


def kill_service(name: str, away: float) -> None:
    """End a service as a crash would, and start it again `away` seconds later, as `make up` does."""
    subprocess.run(["pkill", "-KILL", "-f", f"^[^ ]*python[^ ]* {TOOLS}/{name} "], check=True)
    time.sleep(away)
    subprocess.run(["make", "up"], cwd=REPOSITORY, capture_output=True, timeout=900, check=True)
