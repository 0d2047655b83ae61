"""Requests that die: each is carried out in a process of its own, which a `zfs` of ours kills at the command that a
test chooses, before or after it.

That is what a killed helper, a killed request and a power loss have in common; afterwards `revive` does what a new
helper does when it starts.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from skep_helper import run, zfs
from skep_helper.handlers import Context
from skep_helper.policy import Policy
from skep_helper.vocabulary import FolderReading, ReadStorage, StorageReading
from zfs_lab import names, wipe
from zfs_lab import zfs as zfs_command

_SCRIPT = """\
#!/bin/sh
# Builtins alone, because a process takes an emulated machine long. Two commands may begin at once.
case $1 in {readers}) exec {real} "$@" ;; esac
set -C
number=1
while ! {{ true > {folder}/call.$number; }} 2> /dev/null; do number=$((number + 1)); done
set +C
read -r at when < {folder}/at
if [ $number = "$at" ]; then
    [ $when = after ] && {real} "$@" > {folder}/output 2>&1
    kill -9 $PPID
    exit 1
fi
exec {real} "$@"
"""
_READERS = "list|get|holds|send"
"""What changes nothing: a death at one of them is a death after the command before it."""
REAL = "/sbin/zfs"
_SETUP = "skep:digest,skep:disk,skep:format,skep:guest,skep:host,skep:image,skep:snapshot,skep:disks,skep:frozen"
Deed = Callable[["Mortal"], None]


class Mortal:
    """The storage of one dataset, as the helper drives it, without a helper."""

    def __init__(self, policy: Policy, control: Path) -> None:
        self.policy, self._control = policy, control
        self.answers: list[int] = []
        self.arm(0, "before")
        zfs.prepare(policy)

    def do(self, *requests: Any, descriptor: int | None = None) -> Any:
        """Carry out requests here; the answer of the last."""
        for request in requests:
            context = Context(policy=self.policy, peer_uid=0, descriptors=() if descriptor is None else (descriptor,))
            answer = zfs.HANDLERS[type(request)](context, request)
            self.answers += context.answer_descriptors
        return answer

    def arm(self, at: int, when: str) -> None:
        """The command at which the next deed dies; 0: at none."""
        for call in self._control.glob("call.*"):
            call.unlink()
        (self._control / "at").write_text(f"{at} {when}\n")

    @property
    def calls(self) -> int:
        """Commands that changed something since it was armed."""
        return sum(1 for _ in self._control.glob("call.*"))

    def dies(self, deed: Deed) -> bool:
        """Do it in a process of its own; whether that was killed."""
        child = os.fork()
        if child == 0:
            status = 1
            with suppress(BaseException):
                os.setpgid(0, 0)
                deed(self)
                status = 0
            os._exit(status)
        _, status = os.waitpid(child, 0)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if os.WIFSIGNALED(status):
            return True
        assert os.WEXITSTATUS(status) == 0, "the deed failed without being killed"
        return False

    def revive(self) -> None:
        self.arm(0, "before")
        zfs.prepare(self.policy)
        zfs.recover(self.policy)

    def state(self) -> tuple[Any, ...]:
        """What is there, in a form in which two runs can be compared."""
        reading: StorageReading = self.do(ReadStorage())
        top = self.policy.dataset
        marks = zfs_command("get", "-H", "-r", "-t", "all", "-s", "local", "-o", "name,property,value", _SETUP, top)
        snapshots = names("-r", "-t", "snapshot", top)
        held = zfs_command("holds", "-H", *snapshots).splitlines() if snapshots else ()
        holds = [line.removeprefix(top).split("\t")[:2] for line in held]
        return (
            tuple(_timeless(folder) for folder in reading.folders),
            reading.images,
            reading.trash,
            sorted(_nameless(name.removeprefix(top)) for name in names("-r", "-t", "all", top)),
            sorted(_nameless(line.removeprefix(top)) for line in marks.splitlines()),
            sorted(holds),
        )

    def close(self) -> None:
        for descriptor in self.answers:
            with suppress(OSError):
                os.close(descriptor)
        self.answers.clear()


def _nameless(text: str) -> str:
    """Without what is made up anew each time: the snapshot that a copy of a disk begins at."""
    return re.sub(r"@skep\.copy-[0-9a-f]+", "@skep.copy-", text)


def _timeless(folder: FolderReading) -> FolderReading:
    """Without times, and without what depends on how blocks happen to lie."""
    return replace(
        folder,
        disks=tuple(replace(disk, allocated=0) for disk in folder.disks),
        snapshots=tuple(replace(snapshot, created=0.0) for snapshot in folder.snapshots),
    )


@contextmanager
def mortal(pool: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mortal]:
    """A fresh dataset, and the `zfs` that kills."""
    control = folder / "control"
    control.mkdir(exist_ok=True)
    program = control / "zfs"
    program.write_text(_SCRIPT.format(folder=control, real=REAL, readers=_READERS))
    program.chmod(0o755)
    path = run.ENVIRONMENT["PATH"]
    if str(control) not in path:
        monkeypatch.setitem(run.ENVIRONMENT, "PATH", f"{control}:{path}")
    places = {name: folder / name for name in ("pool", "run", "log")}
    found = Mortal(Policy(**places, dataset=f"{pool}/skep", user="nobody", group="nogroup"), control)  # type: ignore[arg-type]
    try:
        yield found
    finally:
        found.close()
        found.arm(0, "before")
        wipe(f"{pool}/skep")


def dies_everywhere(
    pool: str, folder: Path, monkeypatch: pytest.MonkeyPatch, prepare: Deed, deed: Deed, again: Deed | None = None
) -> int:
    """Let a deed die before and after each of its commands; every time, a new helper and the deed (or `again`) once
    more lead to what an undisturbed run leads to. Returns how many deaths there were."""
    with mortal(pool, folder, monkeypatch) as host:
        prepare(host)
        host.arm(0, "before")
        deed(host)
        commands, wanted = host.calls, host.state()
    deaths = 0
    for at in range(1, commands + 1):
        for when in ("before", "after"):
            with mortal(pool, folder, monkeypatch) as host:
                prepare(host)
                host.arm(at, when)
                assert host.dies(deed), f"it did not die {when} command {at}"
                deaths += 1
                host.revive()
                (again or deed)(host)
                found = host.state()
                assert found == wanted, f"killed {when} command {at} of {commands}"
    return deaths
