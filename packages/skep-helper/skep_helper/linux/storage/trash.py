"""The trash: what a plan may still have to bring back, in one folder for each key.

A folder with nothing in it counts as nothing: it is what a crash left between making the folder and moving something
into it, or what bringing everything back left.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from skep_helper.paths import Folder
from skep_helper.policy import Policy

from . import layout


def folder(policy: Policy, key: str, *parts: str) -> Folder:
    """A folder under this key, made if need be."""
    found = layout.pool_folder(policy, layout.TRASH)
    for part in (key, *parts):
        parent = found
        try:
            found = parent.make(part)
        finally:
            parent.close()
    return found


def keys(policy: Policy) -> tuple[str, ...]:
    """Keys under which something lies."""
    with layout.pool_folder(policy, layout.TRASH) as bin:
        return tuple(name for name in bin.names() if not name.startswith(".") and _holds_something(bin, name))


def prune(policy: Policy, key: str) -> None:
    """Remove the folders under this key, and the key itself, that hold nothing. Not durable: ``prune_all`` does it
    again."""
    with layout.pool_folder(policy, layout.TRASH) as bin, suppress(FileNotFoundError):
        _prune(bin, key)


def prune_all(policy: Policy) -> None:
    """Before the first request, because whoever moves something here has just made an empty folder for it."""
    with layout.pool_folder(policy, layout.TRASH) as bin:
        for name in bin.names():
            if not name.startswith("."):
                with suppress(FileNotFoundError):
                    _prune(bin, name)


def sweep(policy: Policy) -> None:
    """At start: remove what was half removed."""
    with layout.pool_folder(policy, layout.TRASH) as bin:
        for name in bin.names():
            if name.startswith("."):
                bin.remove_tree(name)


def _holds_something(bin: Folder, key: str) -> bool:
    with suppress(FileNotFoundError), bin.folder(key) as kept:
        with suppress(FileNotFoundError), kept.folder(layout.GUESTS) as guests:
            if guests.names():
                return True
        with suppress(FileNotFoundError), kept.folder(layout.DISKS) as disks:
            return any(_names(disks, guest) for guest in disks.names())
    return False


def _names(parent: Folder, name: str) -> list[str]:
    with suppress(FileNotFoundError), parent.folder(name) as found:
        return found.names()
    return []


def _prune(bin: Folder, key: str) -> None:
    with bin.folder(key) as kept:
        with suppress(FileNotFoundError), kept.folder(layout.DISKS) as disks:
            for guest in disks.names():
                _remove_empty(disks, guest)
        _remove_empty(kept, layout.DISKS)
        _remove_empty(kept, layout.GUESTS)
    _remove_empty(bin, key)


def _remove_empty(parent: Folder, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=parent.descriptor)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
            raise
