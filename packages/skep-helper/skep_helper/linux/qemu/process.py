"""The QEMU process: started without any privilege, and known again by its start time."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
from collections.abc import Sequence
from typing import Any

from . import confine

FIRST_DESCRIPTOR = 3
"""Descriptors given to QEMU are numbered from here, in order."""
_ASIDE = 400
_PIPE = 1 << 20
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_DROP = 24
_LAST_CAPABILITY = 63
_libc = ctypes.CDLL(None, use_errno=True)


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when there is none (a zombie counts as none).

    pid and start time together name a process for ever, a pid alone does not.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def open_line(output: str, typed: str) -> tuple[int, int]:
    """The guard's ends of the serial pipes."""
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    reader = os.open(output, flags)
    # What the guest writes while no guard reads is kept here; smaller is a pity, not a failure.
    with contextlib.suppress(OSError):
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, _PIPE)
    return reader, os.open(typed, flags)


def favour(nice: int) -> None:
    """Weigh the session of this process (a guard and its QEMU) as a whole, where the kernel schedules by sessions
    (sched(7), autogroup). A new session gets next to nothing from a busy host in its first moments."""
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as stream:
        stream.write(str(nice))


def spawn(launch: dict[str, Any], descriptors: Sequence[int], errors: int, folder: str) -> tuple[int, int]:
    """Fork the process that becomes QEMU. Returns its pid and a gate: it runs once a byte is written there, and ends
    when the gate is closed before, so that no QEMU runs whose pid was not recorded."""
    waiting, gate = os.pipe()
    pid = os.fork()
    if pid:
        os.close(waiting)
        return pid, gate
    try:
        os.close(gate)
        if os.read(waiting, 1):
            _become(launch, descriptors, errors, folder)
    except BaseException as error:  # noqa: BLE001 - there is nobody above this: say why and end
        os.write(errors, f"cannot start QEMU: {error}\n".encode())
    finally:
        os._exit(127)


def _become(launch: dict[str, Any], descriptors: Sequence[int], errors: int, folder: str) -> None:
    os.setpgid(0, 0)  # in the session of its guard: see favour
    # The serial pipes are the only files that QEMU opens by name; it finds them here, and nothing else of ours.
    os.chdir(folder)
    _place(descriptors, errors)
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if launch.get("locked_memory"):  # a passed-through device reaches all of the guest's memory
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    confine.leave_host()
    _give_up_privileges(int(launch["uid"]), int(launch["gid"]), [int(group) for group in launch["groups"]])
    confine.forbid_tap_changes()
    argv = [str(argument) for argument in launch["argv"]]
    os.execve(argv[0], argv, {"PATH": "/usr/bin:/bin", "LC_ALL": "C"})  # noqa: S606 - no shell is what we want


def _place(descriptors: Sequence[int], errors: int) -> None:
    """Standard input is empty, output and errors go to the guard; then the descriptors, and nothing else."""
    aside = [fcntl.fcntl(number, fcntl.F_DUPFD, _ASIDE) for number in (errors, *descriptors)]
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(aside[0], 1)
    os.dup2(aside[0], 2)
    for index, number in enumerate(aside[1:]):
        os.dup2(number, FIRST_DESCRIPTOR + index)
    os.closerange(FIRST_DESCRIPTOR + len(descriptors), 1 << 20)


def _give_up_privileges(uid: int, gid: int, groups: list[int]) -> None:
    """No capability, in no set; and no way to get one by executing something."""
    if uid < 1 or gid < 1:
        raise ValueError("QEMU never runs as root")
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs cannot be set")
