"""OVMF as the distributions install it."""

from __future__ import annotations

import os

from ...handlers import Failure

CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"
SECURE_CODE = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
SECURE_VARS = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"
HEAD = 44
"""Bytes at the beginning of a file of variables that tell whether it is whole."""
QEMU = "/usr/bin/qemu-system-x86_64"


def open_code(secure_boot: bool) -> int:
    """The firmware, read-only."""
    return _open(SECURE_CODE if secure_boot else CODE)


def read_vars(secure_boot: bool) -> bytes:
    """The variables that a guest begins with; with Microsoft's keys for secure boot."""
    with os.fdopen(_open(SECURE_VARS if secure_boot else VARS), "rb") as stream:
        return stream.read()


def is_whole(head: bytes, size: int) -> bool:
    """Whether variables were written to their end, by the beginning of their file and its size.

    A UEFI firmware volume has its length at byte 32 and its signature at byte 40 (PI specification, volume 3, section
    3.2.1). What has no such signature is not ours to judge.
    """
    if len(head) < HEAD:
        return False
    return head[40:44] != b"_FVH" or int.from_bytes(head[32:40], "little") <= size


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Failure("unsupported", f"{path} is not installed on this host (apt install ovmf)") from None
