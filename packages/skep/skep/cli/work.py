"""Long work: start it, show how it goes, say how it ended."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any

import click

from skep.client import UNENDED, path
from skep.errors import Unreachable

from .failures import INTERRUPTED, SOFTWARE, TRY_AGAIN, Failed
from .options import is_dry_run
from .output import duration, printable, size
from .plan import print_plan
from .session import Session

PATIENCE = 60.0
"""Seconds that a server may be away (a restart) while its work is waited for."""
BAR = 24


def carry_out(session: Session, method: str, words: tuple[str, ...], body: Any = None, **options: Any) -> None:
    """Send a request that answers with an operation, and follow it; with --dry-run print its plan instead.

    wait, headers, query: see the options.
    """
    wait = options.pop("wait", True)
    if is_dry_run():
        options["query"] = {**(options.get("query") or {}), "dry_run": True}
        print_plan(session.client.request(method, path(*words), body, **options).json())
        return
    answer = session.client.request(method, path(*words), body, **options)
    follow(session, answer.json(), wait=wait)


def follow(session: Session, operation: dict[str, Any], *, wait: bool = True, confirm: bool = False) -> None:
    """Show an operation until it ends. Without wait, print its id. Raises Failed if it does not end well."""
    if not wait and operation["state"] in UNENDED:
        click.echo(operation["id"])
        return
    display = Display()
    try:
        while True:
            display.show(operation)
            if operation["state"] == "confirming":
                operation = _confirm(session, operation, confirm)
            elif operation["state"] not in UNENDED:
                break
            else:
                operation = _next(session, operation["id"])
    except KeyboardInterrupt:
        display.clear()
        known = operation["id"]
        text = f"{operation['title']} goes on; `skep operation wait {known}` follows it, `... cancel {known}` undoes it"
        raise Failed(text, INTERRUPTED) from None
    finally:
        display.clear()
    _end(operation)


def _next(session: Session, identity: str) -> dict[str, Any]:
    """How the operation is after a second or at its end; a server that restarts is waited for."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return session.client.wait(identity, 1)
        except Unreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def _confirm(session: Session, operation: dict[str, Any], confirm: bool) -> dict[str, Any]:
    """That this can be asked at all shows that the line holds."""
    identity, left = operation["id"], operation["confirm_before"] - time.time()
    if not confirm and not sys.stdin.isatty():
        text = f"{operation['title']} is rolled back in {left:.0f} s; `skep operation confirm {identity}` keeps it"
        raise Failed(text, TRY_AGAIN)
    question = f"This change could have cut the line. Keep it? (without an answer it is rolled back in {left:.0f} s)"
    verb = "confirm" if confirm or click.confirm(question, err=True) else "cancel"
    found: dict[str, Any] = session.client.request("POST", path("operations", identity, verb)).json()
    return found


def _end(operation: dict[str, Any]) -> None:
    took = duration(max(operation["ended"] - operation["created"], 0.0))
    title, state = printable(operation["title"]), operation["state"]
    if state == "done":
        click.echo(f"done: {title} ({took})", err=True)
        return
    reason = f": {printable(operation['error'])}" if operation["error"] else ""
    raise Failed(f"{title}: {state}{reason}; `skep operation show {operation['id']}` says more", SOFTWARE)


class Display:
    """Progress on stderr: each step once it has ended, and on a terminal a line that moves while one runs."""

    def __init__(self) -> None:
        self._moves = sys.stderr.isatty()
        self._ended: dict[int, str] = {}
        self._speed: dict[int, tuple[float, int]] = {}
        self._drawn = False

    def show(self, operation: dict[str, Any]) -> None:
        steps = operation["steps"]
        for number, step in enumerate(steps):
            if step["state"] not in ("waiting", "running") and self._ended.get(number) != step["state"]:
                self._ended[number] = step["state"]
                self.clear()
                click.echo(f"  {step['state']:<7}  {printable(step['summary'])}", err=True)
        if self._moves:
            self._draw(operation)

    def clear(self) -> None:
        if self._drawn:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._drawn = False

    def _draw(self, operation: dict[str, Any]) -> None:
        running = [(number, step) for number, step in enumerate(operation["steps"]) if step["state"] == "running"]
        text = f"  {operation['state']}  {printable(operation['title'])}"
        if running:
            number, step = running[0]
            more = f" (+{len(running) - 1})" if len(running) > 1 else ""
            count = f"[{len(self._ended)}/{len(operation['steps'])}]"
            text = f"  {count} {printable(step['summary'])}{more}  {self._bar(number, step)}"
        width = shutil.get_terminal_size().columns - 1
        click.echo("\r\x1b[K" + text.rstrip()[:width], nl=False, err=True)
        self._drawn = True

    def _bar(self, number: int, step: dict[str, Any]) -> str:
        done, total = step["done"], step["total"]
        if total <= 0:
            return ""
        now = time.monotonic()
        began, first = self._speed.setdefault(number, (now, done))
        part = min(done / total, 1.0)
        filled = "#" * int(part * BAR)
        amount = f"{size(done)} of {size(total)}" if total >= 10_000 else f"{done} of {total}"
        speed = f"  {size((done - first) / (now - began))}/s" if now - began > 1 and total >= 10_000 else ""
        return f"[{filled:-<{BAR}}] {part:4.0%}  {amount}{speed}"
