"""Completion for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    E.g. skep completion zsh > ~/.zfunc/_skep
    """
    from .main import skep

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(skep, {}, "skep", "_SKEP_COMPLETE").source())
