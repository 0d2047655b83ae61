"""Bring up the site, and find out whether every guest answers."""

from __future__ import annotations

import json
import time
from typing import Any

from .commands import run, show, succeeds
from .places import SITE, SSH_CONFIG, tool
from .progress import Changes, Trouble, say

ANSWER_SECONDS = 600
GUESTS = ("gateway", "files")


def apply() -> None:
    """Apply the site; says so when there is nothing to do."""
    await_engine()
    before = _steps()
    if before:
        say(f"apply {SITE}")
        Changes.count += before
        if show([tool("skep"), "apply", SITE, "--yes"]) != 0:
            raise Trouble("the site was not applied; `skep operation list` shows what happened")


def await_engine() -> None:
    """Wait for work that skepd began by itself, such as starting the guests after it was started."""
    shown = ""
    for _ in range(ANSWER_SECONDS):
        running = [one for one in _operations() if one["state"] in ("queued", "running")]
        if not running:
            return
        line = _doing(running[0])
        if line != shown:
            shown = line
            say(line)
        time.sleep(1)
    raise Trouble("skepd is still at work after ten minutes: see `skep operation list`")


def answer() -> None:
    """Log into every guest; `files` has no way in but through `gateway`."""
    for guest in GUESTS:
        begin = time.monotonic()
        while not succeeds(["ssh", "-F", SSH_CONFIG, "-o", "ConnectTimeout=20", "-o", "BatchMode=yes", guest, "true"]):
            if time.monotonic() - begin > ANSWER_SECONDS:
                raise Trouble(f"guest {guest} does not answer by ssh; look at it with `skep guest log {guest}`")
            time.sleep(1)
        say(f"guest {guest} answers by ssh")


def down() -> None:
    run([tool("skep"), "host", "down", "--yes"])


def _operations() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run([tool("skep"), "operation", "list", "--json"]))
    return found


def _doing(operation: dict[str, Any]) -> str:
    now = [one["summary"] for one in operation["steps"] if one["state"] == "running"]
    return f"{operation['title']}: {', '.join(now) or 'waiting'}"


def _steps() -> int:
    plan = json.loads(run([tool("skep"), "plan", SITE, "--json"]))
    return len(plan["steps"])
