"""Taps: the guest's end of a port. Persistent, so that a port outlives the process that runs its guest."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from ...handlers import Failure
from ...policy import Policy
from . import names, namespaces
from .records import Records

TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000


def open_tap(policy: Policy, port: str) -> int:
    """A descriptor of a port's tap (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR), opened inside the port's namespace.

    Frames read from and written to it begin with a virtio_net_hdr of 10 bytes (TUNSETVNETHDRSZ changes that). The
    caller closes it. Raises Failure: missing (no such port, or a part of it is gone), busy (a guest has it open).
    """
    records = Records(policy)
    record = records.port(port)
    network = records.network(record.spec.network) if record is not None else None
    if record is None or network is None:
        raise Failure("missing", f"port {port} is not on this host: apply it first")
    namespace = namespaces.open_namespace(names.network_namespace(record.spec.network), network.inode)
    try:
        return namespaces.inside(namespace, lambda: attach(record.interface))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Failure("busy", f"port {port}: another process has its tap open") from None
        raise Failure("failed", f"port {port}: cannot open its tap: {error}") from None
    finally:
        os.close(namespace)


def attach(interface: str, create: bool = False) -> int:
    """Open a tap of the calling thread's stack; raises OSError (ENODEV: not there, unless it may be created)."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not create and not os.path.exists(f"/proc/sys/net/ipv4/conf/{interface}"):
            raise OSError(errno.ENODEV, f"no interface {interface}")
        request = struct.pack("16sH22x", interface.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
        fcntl.ioctl(descriptor, TUNSETIFF, request)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make(interface: str) -> None:
    """Make a persistent tap in the calling thread's stack. Repeatable, also while a guest has it open."""
    try:
        descriptor = attach(interface, create=True)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return
        raise
    try:
        fcntl.ioctl(descriptor, TUNSETPERSIST, 1)
    finally:
        os.close(descriptor)
