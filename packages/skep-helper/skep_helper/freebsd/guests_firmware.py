"""UEFI firmware for bhyve, as the port edk2-bhyve installs it: code, and the variables that a guest begins with."""

from __future__ import annotations

import os

from ..handlers import Failure

FOLDERS = ("/usr/local/share/edk2-bhyve", "/usr/local/share/uefi-firmware")
CODE, VARS = "BHYVE_UEFI_CODE.fd", "BHYVE_UEFI_VARS.fd"


def find(folders: tuple[str, ...] = FOLDERS) -> tuple[str, str]:
    """Paths of code and variables, links resolved. Raises Failure(unsupported) naming the package."""
    for folder in folders:
        paths = [os.path.realpath(f"{folder}/{name}") for name in (CODE, VARS)]
        if all(os.path.isfile(path) for path in paths):
            return paths[0], paths[1]
    raise Failure("unsupported", f"there is no {CODE} with {VARS} on this host (pkg install edk2-bhyve)")
