"""Network namespaces: made where ``ip netns`` looks for them, entered by threads that end inside.

A thread that enters a namespace never comes back: it does its work there and ends, so no failure can leave the
helper in the wrong stack. Sockets, tun descriptors and processes made in it belong to the namespace for good.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ...handlers import Failure
from . import names

CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MS_SHARED = 0x100000
MNT_DETACH = 2
FOLDER_SOURCE = "skep-netns"
"""What the mount of the namespaces' folder is called when we made it, and so may take it away."""

_libc = ctypes.CDLL(None, use_errno=True)
_Result = TypeVar("_Result")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def in_thread(work: Callable[[], _Result]) -> _Result:
    """Run work in a thread of its own and hand on what it returns or raises."""
    results: list[_Result] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def inside(descriptor: int, work: Callable[[], _Result]) -> _Result:
    """Run work in a thread inside the namespace of this descriptor. Raises OSError, and what work raises."""

    def body() -> _Result:
        _check(_libc.setns(descriptor, CLONE_NEWNET), "entering a network namespace")
        return work()

    return in_thread(body)


def open_namespace(name: str, inode: int) -> int:
    """A descriptor of our namespace; raises Failure when it is not there or not the one we made."""
    path = names.NAMESPACES / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Failure("missing", f"network namespace {name} is not there: apply its network again") from None
    if os.fstat(descriptor).st_ino != inode:
        os.close(descriptor)
        raise Failure("conflict", f"network namespace {name} is not the one that Skep made: remove or rename it")
    return descriptor


def inode(name: str) -> int:
    """The number of a namespace, 0 when there is none of this name (an empty file left behind is none)."""
    path = names.NAMESPACES / name
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return status.st_ino if status.st_dev != os.stat(path.parent).st_dev else 0


def unshare() -> None:
    """Move the calling thread, which must end after it (in_thread), into a new stack. Raises OSError."""
    _check(_libc.unshare(CLONE_NEWNET), "making a network namespace")


def create(name: str) -> int:
    """Make a namespace and mount it at its name; returns its number. Raises OSError."""
    path = names.NAMESPACES / name
    _make_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))

    def body() -> None:
        unshare()
        target = os.fsencode(path)
        _check(_libc.mount(b"/proc/thread-self/ns/net", target, b"none", MS_BIND, None), f"mounting {path}")

    in_thread(body)
    return inode(name)


def remove(name: str) -> None:
    """Unmount a namespace and remove its name; the kernel removes what is in it. Repeatable."""
    path = names.NAMESPACES / name
    if inode(name):
        _check(_libc.umount2(os.fsencode(path), MNT_DETACH), f"unmounting {path}")
    path.unlink(missing_ok=True)
    _remove_folder(names.NAMESPACES)


def _make_folder(folder: Path) -> None:
    """Make the folder a mount point, as ip-netns(8) expects it.

    Without one, the first ``ip netns add`` of an administrator would bind the folder over itself, and our mounts
    below could never be taken away again.
    """
    folder.mkdir(mode=0o755, exist_ok=True)
    if _mount_source(folder) is None:
        source, target = FOLDER_SOURCE.encode(), os.fsencode(folder)
        _check(_libc.mount(source, target, b"tmpfs", 0, b"mode=755,size=1m"), f"mounting {folder}")
        _check(_libc.mount(b"none", target, None, MS_SHARED, None), f"sharing {folder}")


def _remove_folder(folder: Path) -> None:
    """Take away an empty folder that is ours; others' namespaces may be in it, and then it stays."""
    try:
        if any(folder.iterdir()):
            return
        source = _mount_source(folder)
        if source == FOLDER_SOURCE:
            _check(_libc.umount2(os.fsencode(folder), 0), f"unmounting {folder}")
        if source in (FOLDER_SOURCE, None):
            folder.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise


def _mount_source(folder: Path) -> str | None:
    """What is mounted on a folder, None for nothing (proc_pid_mountinfo(5))."""
    source = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[4] == str(folder):
            source = words[words.index("-") + 2]
    return source


def write_sysctl(path: str, value: str) -> None:
    """Set a value below /proc/sys of the calling thread's stack; raises OSError."""
    Path("/proc/sys", path).write_text(value)


def read_sysctl(path: str) -> str:
    return Path("/proc/sys", path).read_text().strip()
