"""The users that Skep runs as; neither can log in."""

from __future__ import annotations

import grp
import pwd

from .commands import run
from .places import GATEWAY_USER, STATE, USER
from .progress import step


def create() -> None:
    for name in (USER, GATEWAY_USER):
        if _exists(name):
            continue
        with step(f"create the user {name}"):
            argv = ["adduser", "--system", "--group", "--no-create-home", "--home", STATE, "--shell"]
            run([*argv, "/usr/sbin/nologin", name])


def remove() -> None:
    for name in (GATEWAY_USER, USER):
        if _exists(name):
            with step(f"remove the user {name}"):
                run(["deluser", "--system", name])
        if _group_exists(name):
            run(["delgroup", "--system", name])


def ids(name: str) -> tuple[int, int]:
    entry = pwd.getpwnam(name)
    return entry.pw_uid, entry.pw_gid


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
