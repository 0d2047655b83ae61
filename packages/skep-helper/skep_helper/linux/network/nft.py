"""nft: one process per change, a whole transaction each, so that a change is done or not done."""

from __future__ import annotations

from ...run import run
from . import namespaces


def load(script: str, namespace: int | None = None) -> None:
    """Load a script in the stack of this descriptor (None: the calling thread's); raises Failure."""

    def work() -> None:
        run(["nft", "-f", "-"], stdin=script.encode())

    if namespace is None:
        work()
    else:
        namespaces.inside(namespace, work)


def replace_table(family: str, name: str, body: str) -> str:
    """A script that brings a table to this body in one transaction, whether it was there or not."""
    return f"add table {family} {name}\ndelete table {family} {name}\ntable {family} {name} {{\n{body}}}\n"
