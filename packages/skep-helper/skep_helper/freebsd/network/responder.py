"""The process that answers ARP and ND for ports on other hosts: one for each network that has such ports.

It is forked in the network's jail, holds one bpf(4) descriptor of the network's own interface, and gives up everything
else (another user, capsicum(4)) before it looks at its first frame. It is found again by a pid file that only root can
write; in a jail, a process id can only mean a process of that jail.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pwd
import select
import shutil
import signal
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ...handlers import Failure
from ...jobs import close_others
from ...policy import Policy
from ...vocabulary import NetworkSpec
from . import names, neighbours
from .system import System

_BUFFER_LENGTH, _PROGRAM, _INTERFACE, _IMMEDIATE, _WHOLE_HEADER, _INCOMING = (
    0xC0044266, 0x80104267, 0x8020426C, 0x80044270, 0x80044275, 0x80044277,
)  # fmt: skip
_BUFFER = 65_536
_HEADER = struct.Struct("=qqIIH")
"""struct bpf_hdr: a timeval, lengths captured and of the frame, length of the header."""
_GRACE = 10.0


class Responder:
    """The process of one network. Its methods are for a process in the jail."""

    def __init__(self, policy: Policy, network: str) -> None:
        self.folder = names.state_folder(policy) / "neighbours" / network

    def apply(self, system: System, spec: NetworkSpec) -> None:
        """Make it answer for what the spec says: started, replaced or ended."""
        known = neighbours.table(spec)
        text = neighbours.text(known)
        if self._table() == text and self.running():
            return
        self.stop()
        if not known:
            self.forget()
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = bytes.fromhex(names.mac(spec.name, names.OWN).replace(":", ""))
        process = system.start_responder(names.OWN, known, own)
        (self.folder / "pid").write_text(f"{process}\n")
        (self.folder / "table").write_text(text)

    def running(self) -> bool:
        return self._signal(0)

    def stop(self) -> None:
        """Repeatable."""
        deadline = time.monotonic() + _GRACE
        self._signal(signal.SIGKILL)
        while self.running():
            if time.monotonic() > deadline:
                raise Failure("failed", f"the process that answers for network {self.folder.name} does not end")
            time.sleep(0.005)

    def forget(self) -> None:
        """Remove its files; the jail's end has ended the process."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _table(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "table").read_text()
        return ""

    def _signal(self, number: int) -> bool:
        with contextlib.suppress(OSError, ValueError):
            process = int((self.folder / "pid").read_text())
            if process > 0:
                os.kill(process, number)
                return True
        return False


def start(interface: str, known: Mapping[bytes, bytes], own: bytes) -> int:
    """Fork it, in the stack of the calling process; returns its pid. Raises OSError when the interface is not there."""
    descriptor = open_bpf(interface)
    account = pwd.getpwnam("nobody")
    process = os.fork()
    if process:
        os.close(descriptor)
        return process
    status = 1
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        _release(descriptor)
        _confine(account)
        serve(descriptor, known, own)
        status = 0
    finally:
        os._exit(status)


def serve(descriptor: int, known: Mapping[bytes, bytes], own: bytes) -> None:
    """Until the interface goes."""
    while True:
        select.select([descriptor], [], [])
        data = os.read(descriptor, _BUFFER)
        if not data:
            return
        for frame in frames(data):
            reply = neighbours.answer(frame, known, own)
            if reply is not None:
                with contextlib.suppress(BlockingIOError, InterruptedError):  # who asked asks again
                    os.write(descriptor, reply)


def frames(data: bytes) -> Iterator[bytes]:
    """The frames in what was read of a bpf(4) device: each has a header, and the next begins at a multiple of 8."""
    at = 0
    while at + _HEADER.size <= len(data):
        _, _, captured, _, header = _HEADER.unpack_from(data, at)
        yield data[at + header : at + header + captured]
        at += (header + captured + 7) & ~7


def open_bpf(interface: str) -> int:
    """A descriptor that reads what comes in on an interface and is a request, and writes whole frames."""
    descriptor = os.open("/dev/bpf", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _BUFFER_LENGTH, struct.pack("=I", _BUFFER))
        fcntl.ioctl(descriptor, _INTERFACE, struct.pack("=16s16x", interface.encode()))
        for request, value in ((_IMMEDIATE, 1), (_WHOLE_HEADER, 1), (_INCOMING, 0)):
            fcntl.ioctl(descriptor, request, struct.pack("=I", value))
        program = b"".join(struct.pack("=HBBI", *instruction) for instruction in neighbours.FILTER)
        buffer = ctypes.create_string_buffer(program, len(program))
        fcntl.ioctl(descriptor, _PROGRAM, struct.pack("=I4xQ", len(neighbours.FILTER), ctypes.addressof(buffer)))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _release(descriptor: int) -> None:
    """Let go of all that belongs to the helper, standard streams too."""
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    close_others({descriptor})


def _confine(account: pwd.struct_passwd) -> None:
    """Frames come from guests: whoever takes this process over has one descriptor and nothing else."""
    os.chdir("/")
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    libc: Any = ctypes.CDLL(None, use_errno=True)
    if libc.cap_enter() != 0:
        raise OSError(ctypes.get_errno(), "entering capability mode")
