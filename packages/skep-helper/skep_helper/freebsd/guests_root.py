"""The file system that guests' bhyve sees: what bhyve needs and nothing else, one copy for all guests.

bhyve has its ACPI tables compiled by iasl, which it starts by the shell, before it gives up all rights (capsicum(4)).

RUN/bhyve/KEY-RANDOM/, where the key follows from the files, so that a new bhyve gets a new copy while guests go on in
the old one. Its empty folders are where each guest's own parts are mounted (bhyve.jail). A copy is whole when it has
its marker, which is written last: one that a crash left half made has none, nor has one from before a boot
(rc.d/cleanvar removes all files below /var/run, and leaves the folders).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator

from .. import log
from ..locks import alone
from ..policy import Policy
from ..run import run

BHYVE = "/usr/sbin/bhyve"
PROGRAMS = (BHYVE, "/usr/sbin/iasl", "/bin/sh")
MARKER = ".whole"
_LOADER = "/libexec/ld-elf.so.1"
# The guest's clock may be the host's local time.
_TIME = "/etc/localtime"
_FOLDERS = ("dev", "fd", "run", "tmp")
_TURN = 60.0
"""Seconds that somebody else may take to make the copy."""


def prepare(policy: Policy) -> str:
    """The folder, made when there is none. Raises OSError, Failure."""
    listed = run(["ldd", "-f", "%p\\n", *PROGRAMS]).decode(errors="replace")
    files = [*PROGRAMS, _LOADER, *libraries(listed), *([_TIME] if os.path.exists(_TIME) else [])]
    return build(_where(policy), files)


def tidy(policy: Policy) -> None:
    """Remove copies that are not whole, but for those that a jail has mounted. Raises OSError, Failure."""
    with _turn(_where(policy), "tidying up"):
        sweep(_where(policy), sources(run(["mount", "-p"]).decode(errors="replace")))


def libraries(listed: str) -> list[str]:
    """From ldd's output: the paths, without what it says of libraries that are not there."""
    return sorted(set(re.findall(r"^(/\S+)$", listed, re.MULTILINE)))


def build(where: str, files: Iterable[str]) -> str:
    """Copy files into a folder below `where`, named after what they are. Atomic, repeatable, one at a time."""
    files = list(files)
    marks = [f"{path} {status.st_size} {status.st_mtime_ns}" for path in files if (status := os.stat(path))]
    key = hashlib.sha256("\n".join(marks).encode()).hexdigest()[:16]
    with _turn(where, "copying bhyve"):
        whole = (f"{where}/{name}" for name in _copies(where) if name.startswith(f"{key}-"))
        found = next((path for path in whole if _is_whole(path)), None)
        return found or _copy(tempfile.mkdtemp(prefix=f"{key}-", dir=where), files)


def sweep(where: str, mounted: Collection[str]) -> None:
    """mounted: what is mounted anywhere. To be called by one at a time."""
    for name in _copies(where):
        path = f"{where}/{name}"
        if path not in mounted and not _is_whole(path):
            try:
                shutil.rmtree(path)
            except OSError as error:  # nobody needs its name: it is tried again at the next start
                log.line("left", path=path, reason=error)


def sources(text: str) -> set[str]:
    """From `mount -p`: the first field of each line, where a blank is written as \\040."""
    return {words[0].replace("\\040", " ") for line in text.splitlines() if (words := line.split())}


@contextlib.contextmanager
def _turn(where: str, what: str) -> Iterator[None]:
    os.makedirs(where, mode=0o755, exist_ok=True)
    with alone(f"{where}/.lock", what, _TURN):
        yield


def _where(policy: Policy) -> str:
    return f"{policy.run}/bhyve"


def _copies(where: str) -> list[str]:
    return [entry.name for entry in os.scandir(where) if entry.is_dir(follow_symlinks=False)]


def _is_whole(path: str) -> bool:
    return os.path.isfile(f"{path}/{MARKER}")


def _copy(target: str, files: Iterable[str]) -> str:
    os.chmod(target, 0o755)  # noqa: S103 - all of it is public, and nobody may write it
    for folder in _FOLDERS:
        os.makedirs(f"{target}/{folder}", mode=0o755)
    for path in files:
        copy = f"{target}{path}"
        os.makedirs(os.path.dirname(copy), mode=0o755, exist_ok=True)
        shutil.copyfile(path, copy)  # what a link points to
        os.chmod(copy, 0o555)  # noqa: S103 - as above
    with open(f"{target}/{MARKER}", "x"):
        return target
