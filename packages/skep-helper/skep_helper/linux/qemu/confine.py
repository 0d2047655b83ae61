"""What QEMU gets of the kernel beyond its own sandbox: an empty network stack, and no say about the taps it holds.

Whoever holds a tap's descriptor may change the interface behind it without any privilege: give it the MAC of a
neighbour, for instance, whose frames the bridge then keeps. A guest that took over its QEMU would not miss that.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterator

_CLONE_NEWIPC, _CLONE_NEWNET = 0x08000000, 0x40000000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _MACHINE, _SECOND_ARGUMENT = 0, 4, 24
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_OTHER_INTERFACE = 0x40000000
"""From here on calls are those of another ABI (x32), which reach the same code by other numbers."""
_X86_64, _AARCH64, _I386, _ARM = 0xC000003E, 0xC00000B7, 0x40000003, 0x40000028
_IOCTL = {_X86_64: 16, _AARCH64: 29}
"""The number of ioctl(2) by machine. Both are little-endian."""
TAP_CHANGES = {
    "SIOCSIFHWADDR": 0x8924, "TUNSETDEBUG": 0x400454C9, "TUNSETPERSIST": 0x400454CB, "TUNSETOWNER": 0x400454CC,
    "TUNSETLINK": 0x400454CD, "TUNSETGROUP": 0x400454CE, "TUNSETTXFILTER": 0x400454D1, "TUNATTACHFILTER": 0x401054D5,
    "TUNDETACHFILTER": 0x401054D6, "TUNSETIFINDEX": 0x400454DA, "TUNSETSTEERINGEBPF": 0x800454E0,
    "TUNSETFILTEREBPF": 0x800454E1, "TUNSETCARRIER": 0x400454E2,
}  # fmt: skip
_libc = ctypes.CDLL(None, use_errno=True)


def leave_host() -> None:
    """Into a network stack and System V objects of one's own, both empty; needs privilege. Raises OSError."""
    if _libc.unshare(_CLONE_NEWNET | _CLONE_NEWIPC) != 0:
        raise OSError(ctypes.get_errno(), "a network stack of its own cannot be had")


def forbid_tap_changes() -> None:
    """From now on, in this process and what it executes. Needs no_new_privs; raises OSError."""
    code = b"".join(_program())
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "what it may do with its taps cannot be limited")


def _program() -> Iterator[bytes]:
    """Classic BPF (seccomp(2)); a jump counts the instructions it leaves out. Calls of another ABI of the same machine
    are refused: they reach the same code by other numbers. On a machine without a number nothing is."""
    changes = list(TAP_CHANGES.values())
    allow, refuse = 13 + len(changes), 14 + len(changes)
    yield _instruction(_LOAD, _MACHINE)
    yield _instruction(_EQUAL, _X86_64, 6 - 2)
    yield _instruction(_EQUAL, _AARCH64, 10 - 3)
    yield _instruction(_EQUAL, _I386, refuse - 4)
    yield _instruction(_EQUAL, _ARM, refuse - 5)
    yield _instruction(_RETURN, _ALLOW)
    yield _instruction(_LOAD, _NUMBER)  # 6: x86-64
    yield _instruction(_AT_LEAST, _OTHER_INTERFACE, refuse - 8)
    yield _instruction(_EQUAL, _IOCTL[_X86_64], 12 - 9)
    yield _instruction(_RETURN, _ALLOW)
    yield _instruction(_LOAD, _NUMBER)  # 10: ARM with 64 bits
    yield _instruction(_EQUAL, _IOCTL[_AARCH64], 0, allow - 12)
    yield _instruction(_LOAD, _SECOND_ARGUMENT)  # 12: an ioctl
    for at, request in enumerate(changes, 13):
        yield _instruction(_EQUAL, request, refuse - at - 1)
    yield _instruction(_RETURN, _ALLOW)
    yield _instruction(_RETURN, _REFUSE)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
