"""Device nodes of volumes: waited for, mended when the kernel forgot one, and looked at before they are used."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from ..handlers import Failure
from ..storage.locks import Progress, no_progress
from .tool import zfs

ZVOL = "/dev/zvol"
_PAUSE = 0.02
_MEND, _PATIENCE = 10.0, 40.0
"""Seconds until a node that is not there is mended, and until that is given up."""
_NAME_OF_VOLUME = 0x8100127D
"""OpenZFS's ioctl BLKZNAME, which answers with the name of the volume (256 bytes)."""
_NAME_SIZE = 256


def path(volume: str) -> str:
    """The node of a volume, or of a snapshot of one where snapdev=visible."""
    return f"{ZVOL}/{volume}"


def open_volume(volume: str, flags: int = os.O_RDONLY, progress: Progress | None = None) -> int:
    """A descriptor of the volume's device. Raises Failure when there is none after all patience."""
    begun, mended = time.monotonic(), False
    while True:
        descriptor = _try(volume, flags)
        if descriptor is not None:
            return descriptor
        waited = time.monotonic() - begun
        if waited > _PATIENCE:
            raise Failure("failed", f"{path(volume)} does not appear, though the volume is there; see zfs get volmode")
        if waited > _MEND and not mended:
            mend(volume)
            mended = True
        (progress or no_progress)(0, 0)
        time.sleep(_PAUSE)


def await_node(volume: str, progress: Progress | None = None) -> None:
    """Wait until the volume can be opened by its name."""
    os.close(open_volume(volume, os.O_RDONLY, progress))


def mend(volume: str) -> None:
    """Have the kernel make a node that it forgot: seen on FreeBSD 13.2 when volmode was set and not inherited."""
    dataset, _, snapshot = volume.partition("@")
    key, off = ("snapdev", "hidden") if snapshot else ("volmode", "none")
    zfs("set", f"{key}={off}", dataset)
    zfs("inherit", key, dataset)


def size_of(descriptor: int) -> int:
    """Bytes of an open device."""
    return os.lseek(descriptor, 0, os.SEEK_END)


def _try(volume: str, flags: int) -> int | None:
    try:
        descriptor = os.open(path(volume), flags | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            return None
        if error.errno == errno.EBUSY:
            raise Failure("busy", f"{path(volume)} is in use by something else; end that and try again") from None
        raise
    if _is(descriptor, volume):
        return descriptor
    os.close(descriptor)
    return None


def _is(descriptor: int, volume: str) -> bool:
    """Where nodes are devices of their own (character devices), the name is the volume's. Where they are links that
    udev makes later (to block devices), one may still lead to the volume that had the name before."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISCHR(mode):
        return True
    if not stat.S_ISBLK(mode):
        return False
    name = bytearray(_NAME_SIZE)
    fcntl.ioctl(descriptor, _NAME_OF_VOLUME, name)
    return name.split(b"\0")[0].decode(errors="replace") == volume
