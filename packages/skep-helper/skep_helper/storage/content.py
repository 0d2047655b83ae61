"""What comes as an image: the file it is written into, whether nobody writes it any more, and what it says it is."""

from __future__ import annotations

import errno
import fcntl
import os

from ..handlers import Failure
from ..paths import Folder
from ..storage.locks import Progress
from ..vocabulary import Rejected
from . import copying, qcow2

ISO_SIGNATURE = (32_769, b"CD001")
SECTOR = 512


def require_space(descriptor: int, size: int, what: str) -> None:
    """Raise Failure("full") when this many bytes cannot be had where an open file lies."""
    status = os.fstatvfs(descriptor)
    free = status.f_bavail * status.f_frsize
    if size > free:
        raise Failure("full", f"{what} needs {size >> 20} MiB in the pool, {free >> 20} MiB are free")


def open_file(folder: Folder, name: str, size: int, what: str) -> int:
    """A file of this size for writing and reading, with what was written into it before."""
    descriptor = folder.open(name, os.O_RDWR | os.O_CREAT)
    try:
        os.fchmod(descriptor, 0o600)
        status = os.fstat(descriptor)
        require_space(descriptor, size - status.st_blocks * SECTOR, what)
        if status.st_size != size:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
            folder.sync()
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_sealed(folder: Folder, name: str, what: str, progress: Progress) -> int:
    """The file for reading; from here on nobody can write it."""
    descriptor = folder.open(name)
    try:
        if not _nobody_writes(descriptor, what):
            descriptor = _copied(folder, name, descriptor, progress)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _nobody_writes(descriptor: int, what: str) -> bool:
    """Whether no descriptor open for writing is left anywhere, which Linux tells by granting a read lease.

    Raises Failure("busy") when there is one; False where there are no leases.
    """
    set_lease = getattr(fcntl, "F_SETLEASE", None)
    if set_lease is None:
        return False
    try:
        fcntl.fcntl(descriptor, set_lease, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise Failure(
                "busy", f"{what} is still open for writing; close its writer before it is published"
            ) from None
        return False
    fcntl.fcntl(descriptor, set_lease, fcntl.F_UNLCK)
    return True


def _copied(folder: Folder, name: str, descriptor: int, progress: Progress) -> int:
    """A copy that nobody ever had a descriptor of takes the file's place; the old descriptor is closed."""
    temporary = f".{name}.new"
    folder.remove(temporary, durable=False)
    target = folder.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        copying.copy_sparse(descriptor, target, progress)
        os.fsync(target)
        folder.rename(temporary, folder, name)
    except BaseException:
        os.close(target)
        raise
    os.close(descriptor)
    return target


def inspect(descriptor: int, format: str, size: int, what: str) -> int:
    """The virtual size of what is in an open file or volume of `size` bytes; raises Rejected when it is not what it
    is said to be, or refers to other files."""
    try:
        if format == "qcow2":
            return qcow2.inspect_image(descriptor)
        if format == "iso" and os.pread(descriptor, 5, ISO_SIGNATURE[0]) != ISO_SIGNATURE[1]:
            raise Rejected("it is not an ISO 9660 volume")
        if format == "raw" and size % SECTOR:
            raise Rejected(f"its size of {size} bytes is not a multiple of {SECTOR}")
        return size
    except Rejected as error:
        raise Rejected(f"{what} is refused: {error}") from None
