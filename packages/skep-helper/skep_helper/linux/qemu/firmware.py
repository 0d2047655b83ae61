"""OVMF as the distributions install it."""

from __future__ import annotations

import os

from ...handlers import Failure

CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"
SECURE_CODE = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
SECURE_VARS = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"
QEMU = "/usr/bin/qemu-system-x86_64"


def open_code(secure_boot: bool) -> int:
    """The firmware, read-only."""
    return _open(SECURE_CODE if secure_boot else CODE)


def read_vars(secure_boot: bool) -> bytes:
    """The variables that a guest begins with; with Microsoft's keys for secure boot."""
    with os.fdopen(_open(SECURE_VARS if secure_boot else VARS), "rb") as stream:
        return stream.read()


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Failure("unsupported", f"{path} is not installed on this host (apt install ovmf)") from None
