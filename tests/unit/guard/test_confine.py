"""What QEMU is not allowed, tried in a process that is confined as it is."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable

import pytest
from skep_helper.linux.qemu import confine


def in_process(work: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def error_of(request: int) -> int:
    """Of an ioctl on a socket, where requests of a tap have no meaning."""
    with socket.socket() as there:
        try:
            fcntl.ioctl(there, request, bytes(40))
        except OSError as error:
            return error.errno or 0
    return 0


@pytest.mark.parametrize("name", sorted(set(confine.TAP_CHANGES) - {"SIOCSIFHWADDR"}))
def test_a_tap_is_not_changed_by_who_holds_it(name: str) -> None:
    def work() -> None:
        request = confine.TAP_CHANGES[name]
        assert error_of(request) == errno.ENOTTY
        ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
        confine.forbid_tap_changes()
        assert error_of(request) == errno.EPERM

    in_process(work)


def test_what_qemu_does_with_a_tap_stays_allowed() -> None:
    def work() -> None:
        ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
        confine.forbid_tap_changes()
        for request in (0x800454D2, 0x800454CF, 0x400454D0, 0x400454D8):  # TUNGETIFF, FEATURES, OFFLOAD, VNETHDRSZ
            assert error_of(request) == errno.ENOTTY
        assert error_of(0x8927) == errno.ENODEV  # SIOCGIFHWADDR of an interface without a name

    in_process(work)


@pytest.mark.parametrize(
    ("machine", "number", "argument", "allowed"),
    [
        (0xC000003E, 16, 0x8924, False),
        (0xC000003E, 16, 0x8927, True),
        (0xC000003E, 17, 0x8924, True),
        (0xC000003E, 0x40000000 + 514, 0x8924, False),  # x32
        (0x40000003, 54, 0x8924, False),  # i386, on the same machine
        (0xC00000B7, 29, 0x8924, False),
        (0xC00000B7, 29, 0x8927, True),
        (0xC00000B7, 16, 0x8924, True),
        (0xC00000F3, 29, 0x8924, True),  # a machine whose numbers are not known
    ],
)
def test_every_way_to_the_same_call_is_judged(machine: int, number: int, argument: int, allowed: bool) -> None:
    """The program, carried out as the kernel would."""
    data = struct.pack("<IIQQQ", number, machine, 0, 0, argument)
    program = [struct.unpack("=HBBI", word) for word in confine._program()]
    at, value = 0, 0
    while True:
        code, if_true, if_false, constant = program[at]
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("<I", data, constant)
        elif code == 0x06:
            assert (constant == 0x7FFF0000) is allowed
            return
        else:
            at += if_true if (value == constant if code == 0x15 else value >= constant) else if_false
