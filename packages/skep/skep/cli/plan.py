"""Plans as text."""

from __future__ import annotations

from typing import Any

import click

from .output import printable

SIGNS = {"create": "+", "delete": "-", "remove": "-"}


def print_plan(found: dict[str, Any]) -> None:
    for step in found["steps"]:
        click.echo(f"  {SIGNS.get(step['verb'], '~')} {printable(step['summary'])}")
    for note in found["notes"]:
        ref = f"{note['ref']}: " if note["ref"] else ""
        click.echo(f"  {'!' if note['refuses'] else '*'} {ref}{printable(note['text'])}")
    if not found["steps"]:
        click.echo("nothing to do: the host is as the definition says")
        return
    click.echo(count(found) + ("; must be confirmed within two minutes" if found["confirm"] else ""))


def count(found: dict[str, Any]) -> str:
    number = len(found["steps"])
    return f"{number} step" if number == 1 else f"{number} steps"
