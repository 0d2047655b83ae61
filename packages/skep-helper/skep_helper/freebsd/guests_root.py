"""The file system that guests' bhyve sees: what bhyve needs and nothing else, one copy for all guests.

bhyve has its ACPI tables compiled by iasl, which it starts by the shell, before it gives up all rights (capsicum(4)).

RUN/bhyve/KEY/, where the key follows from the files, so that a new bhyve gets a new copy while guests go on in the old
one. Its empty folders are where each guest's own parts are mounted (bhyve.jail).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable

from ..policy import Policy
from ..run import run

BHYVE = "/usr/sbin/bhyve"
PROGRAMS = (BHYVE, "/usr/sbin/iasl", "/bin/sh")
_LOADER = "/libexec/ld-elf.so.1"
# The guest's clock may be the host's local time.
_TIME = "/etc/localtime"
_FOLDERS = ("dev", "fd", "run", "tmp")


def prepare(policy: Policy) -> str:
    """The folder, made when there is none. Raises OSError, Failure."""
    listed = run(["ldd", "-f", "%p\\n", *PROGRAMS]).decode(errors="replace")
    files = [*PROGRAMS, _LOADER, *libraries(listed), *([_TIME] if os.path.exists(_TIME) else [])]
    return build(f"{policy.run}/bhyve", files)


def libraries(listed: str) -> list[str]:
    """From ldd's output: the paths, without what it says of libraries that are not there."""
    return sorted(set(re.findall(r"^(/\S+)$", listed, re.MULTILINE)))


def build(where: str, files: Iterable[str]) -> str:
    """Copy files into a folder below `where`, named after what they are. Atomic and repeatable."""
    files = list(files)
    marks = [f"{path} {status.st_size} {status.st_mtime_ns}" for path in files if (status := os.stat(path))]
    target = f"{where}/{hashlib.sha256(chr(10).join(marks).encode()).hexdigest()[:16]}"
    if os.path.isdir(target):
        return target
    temporary = f"{target}.new"
    shutil.rmtree(temporary, ignore_errors=True)
    for folder in _FOLDERS:
        os.makedirs(f"{temporary}/{folder}", mode=0o755)
    for path in files:
        copy = f"{temporary}{path}"
        os.makedirs(os.path.dirname(copy), mode=0o755, exist_ok=True)
        shutil.copyfile(path, copy)  # what a link points to
        os.chmod(copy, 0o555)  # noqa: S103 - all of it is public, and nobody may write it
    os.rename(temporary, target)
    return target
