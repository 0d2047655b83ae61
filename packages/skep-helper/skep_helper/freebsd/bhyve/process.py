"""The bhyve process: started in its guest's jail, known again by its start time, its exit learned by anybody.

What only FreeBSD has is reached through libc when it is called, so that the module imports anywhere.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import select
import signal
import struct
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...guard.protocol import GuardError

FIRST_DESCRIPTOR = 3
"""Files given to bhyve are numbered from here, in order."""
READY = b"r"
_ASIDE = 400
_LOOKS, _PAUSE = 40, 0.05
_KERN_PROC = (1, 14, 1)
"""CTL_KERN, KERN_PROC, KERN_PROC_PID of sysctl(3); KERN_PROC_ARGS is 7 in the place of the last."""
_KERN_PROC_ARGS = 7
# struct kinfo_proc of 64-bit FreeBSD, whose size is part of the ABI: offsets of what is read here.
_SIZE, _PID, _IGNORED, _CAUGHT, _START, _STATE = 1088, 72, 136, 152, 336, 388
_RESIDENT, _RUNTIME = 264, 328
_STOPPED, _ZOMBIE = 4, 5


class Status(NamedTuple):
    """start: seconds since the epoch with microseconds, as text, because it is only compared. stopped: by a signal.
    power_button: SIGTERM is one, and does not end it."""

    start: str
    stopped: bool
    power_button: bool


def status(pid: int) -> Status | None:
    """What the kernel says of a process; None when there is none, or only a zombie. Raises GuardError when the kernel
    does not tell: a guest must not be taken for ended because of that.

    pid and start together name a process for ever, also across a reboot of the host; a pid alone does not.
    """
    try:
        data = _sysctl((*_KERN_PROC, pid))
    except ProcessLookupError:
        return None
    except OSError as error:
        raise GuardError("failed", f"the kernel does not tell of process {pid}: {error.strerror}") from None
    return parse(data, pid)


def parse(data: bytes, pid: int) -> Status | None:
    """status() from a struct kinfo_proc. Raises GuardError for one of an unknown layout."""
    if not data:
        return None
    if (
        len(data) < _SIZE
        or struct.unpack_from("=i", data)[0] != _SIZE
        or struct.unpack_from("=i", data, _PID)[0] != pid
    ):
        raise GuardError("unsupported", "this kernel describes processes in a way that is not known here")
    state = data[_STATE]
    if state == _ZOMBIE:
        return None
    seconds, micro = struct.unpack_from("=qq", data, _START)
    bit = 1 << (signal.SIGTERM - 1)
    ignored = struct.unpack_from("=I", data, _IGNORED)[0]
    return Status(f"{seconds}.{micro:06d}", state == _STOPPED, bool(ignored & bit))


class Used(NamedTuple):
    """cpu: microseconds of all its threads. memory: bytes that are resident."""

    cpu: int
    memory: int


def used(pid: int) -> Used | None:
    """What a process used so far; None when there is none. Raises GuardError when the kernel does not tell."""
    try:
        data = _sysctl((*_KERN_PROC, pid))
    except ProcessLookupError:
        return None
    except OSError as error:
        raise GuardError("failed", f"the kernel does not tell of process {pid}: {error.strerror}") from None
    return parse_used(data, pid, resource.getpagesize())


def parse_used(data: bytes, pid: int, page: int) -> Used | None:
    """used() from a struct kinfo_proc. Raises GuardError for one of an unknown layout."""
    if parse(data, pid) is None:
        return None
    (pages,), (time_,) = struct.unpack_from("=q", data, _RESIDENT), struct.unpack_from("=Q", data, _RUNTIME)
    return Used(time_, max(pages, 0) * page)


def title(pid: int) -> str:
    """The arguments of a process as it shows them; empty when there is none, or none can be read at this moment. bhyve
    sets "bhyve: NAME" once all its devices are made, just before its guest runs."""
    try:
        data = _sysctl((*_KERN_PROC[:2], _KERN_PROC_ARGS, pid))
    except OSError:
        return ""
    return data.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")


def _sysctl(name: Sequence[int]) -> bytes:
    """Raises ProcessLookupError for a process that is not there, and other OSErrors."""
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = (ctypes.c_int * len(name))(*name)
    size = ctypes.c_size_t(8192)
    buffer = ctypes.create_string_buffer(size.value)
    if libc.sysctl(numbers, len(name), buffer, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw[: size.value]


class Exit:
    """Tells when a process ends and with which status of wait(2), whoever's child it is: kqueue's NOTE_EXIT."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError."""
        kernel: Any = select  # kqueue is not on every system that this is checked on
        self._queue = kernel.kqueue()
        event = kernel.kevent(pid, kernel.KQ_FILTER_PROC, kernel.KQ_EV_ADD | kernel.KQ_EV_ONESHOT, kernel.KQ_NOTE_EXIT)
        try:
            self._queue.control([event], 0, 0)
        except BaseException:
            self._queue.close()
            raise

    def fileno(self) -> int:
        """Readable at the end of the process."""
        return int(self._queue.fileno())

    def status(self) -> int:
        (event,) = self._queue.control(None, 1, 0)
        return int(event.data)

    def close(self) -> None:
        self._queue.close()


class Started(NamedTuple):
    """gate: bhyve runs once a byte is written there, and ends when it is closed before. ready: gives READY once the
    serial line's device is visible in the jail, and ends without it when the child failed."""

    pid: int
    gate: int
    ready: int


def spawn(launch: dict[str, Any], files: Sequence[int], errors: int, jail: int) -> Started:
    """Fork the process that becomes bhyve. launch: "argv", "line". files: its descriptors, in order. jail: 0: none."""
    waiting, gate = os.pipe()
    ready, telling = os.pipe()
    pid = os.fork()
    if pid:
        os.close(waiting)
        os.close(telling)
        return Started(pid, gate, ready)
    try:
        os.close(gate)
        os.close(ready)
        enter_jail(jail)
        if jail:
            _look_up(str(launch["line"]))
        os.write(telling, READY)
        if os.read(waiting, 1):
            _become([str(word) for word in launch["argv"]], files, errors)
    except BaseException as error:  # noqa: BLE001 - there is nobody above this: say why and end
        os.write(errors, f"cannot start bhyve: {error}\n".encode())
    finally:
        os._exit(127)


def _look_up(line: str) -> None:
    """Make the serial line's device. One that was first looked up on the host, or in a jail that is gone, belongs there
    and is invisible here; it goes away a moment after its last end was closed (Host.free_line)."""
    for _ in range(_LOOKS):
        if os.path.exists(line):
            return
        time.sleep(_PAUSE)
    raise OSError(errno.EBUSY, f"something on the host uses the serial line (fstat {line}), end it first")


def enter_jail(jail: int) -> None:
    """Put this process into a jail; there is no way back. 0: nothing. Raises OSError."""
    if jail:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.jail_attach(jail) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter jail {jail}")


def _become(argv: list[str], files: Sequence[int], errors: int) -> None:
    os.setsid()
    os.chdir("/")
    _place(files, errors)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    # A screen or an agent that goes away must not end the guest.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execve(argv[0], argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"})  # noqa: S606 - no shell


def _place(files: Sequence[int], errors: int) -> None:
    """Standard input is empty, output and errors go to the guard (bhyve refuses to start without them); then the files,
    and nothing else."""
    aside = [fcntl.fcntl(number, fcntl.F_DUPFD, _ASIDE) for number in (errors, *files)]
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(aside[0], 1)
    os.dup2(aside[0], 2)
    for index, number in enumerate(aside[1:]):
        os.dup2(number, FIRST_DESCRIPTOR + index)
    os.closerange(FIRST_DESCRIPTOR + len(files), 1024)


def open_file(path: str, flags: int) -> int:
    """Open a file or device that root put there, component by component and through no link. Raises OSError."""
    *folders, name = [part for part in path.split("/") if part]
    descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folders:
            following = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = following
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(descriptor)
