"""Whether KVM works, found by starting a guest with it: a /dev/kvm that opens may still crash every guest."""

from __future__ import annotations

import contextlib
import json
import os
import select
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from ..guard import state
from ..policy import Policy
from ..vocabulary.host import Feature
from .qemu import command, firmware

DEVICE = "/dev/kvm"
PATIENCE = 10.0
"""Seconds in which the firmware must have written something to the serial line; it takes about two."""


def feature(policy: Policy, device: str = DEVICE) -> Feature:
    """The probe's result, kept until the next boot, or until the device's permissions or QEMU change."""
    key = _key(device)
    path = f"{policy.run}/guests/.kvm.json"
    with contextlib.suppress(FileNotFoundError, ValueError), open(path) as stream:
        kept = json.load(stream)
        if kept["key"] == key:
            return Feature(name="kvm", works=kept["works"], reason=kept["reason"])
    reason = _try(policy, device)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    state.write_durably(path, {"key": key, "works": not reason, "reason": reason})
    return Feature(name="kvm", works=not reason, reason=reason)


def groups(device: str = DEVICE) -> list[int]:
    """The supplementary group that lets a guest's user at the device."""
    status = os.stat(device)
    return [status.st_gid] if status.st_gid and not status.st_mode & stat.S_IWOTH else []


def _key(device: str) -> list[object]:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    found: list[object] = [boot]
    for path in (device, firmware.QEMU, firmware.CODE):
        with contextlib.suppress(OSError):
            status = os.stat(path)
            found.append([status.st_mode, status.st_gid, status.st_rdev, status.st_mtime if path != device else 0])
    return found


def _try(policy: Policy, device: str) -> str:
    """Why guests run without KVM; empty when it works."""
    fallback = "guests run emulated (slow)"
    try:
        status = os.stat(device)
    except FileNotFoundError:
        return (
            f"there is no {device}: {fallback}; load kvm_intel or kvm_amd, or switch on virtualisation in the firmware"
        )
    group = status.st_mode & (stat.S_IRGRP | stat.S_IWGRP) == stat.S_IRGRP | stat.S_IWGRP and status.st_gid
    everybody = status.st_mode & (stat.S_IROTH | stat.S_IWOTH) == stat.S_IROTH | stat.S_IWOTH
    if not group and not everybody:
        return f"only root may use {device}: {fallback}; give it to group kvm with mode 660"
    reason = run_firmware(policy, groups(device))
    return f"{reason}: {fallback}" if reason else ""


def run_firmware(policy: Policy, supplementary: list[int], accelerator: str = "kvm") -> str:
    """Run the firmware alone, as the last user of the guest range, until it writes to its serial line.

    Returns why it did not, empty when it did.
    """
    uid = policy.guest_uids[1]
    with tempfile.TemporaryFile() as variables:
        variables.write(firmware.read_vars(False))
        variables.flush()
        code = firmware.open_code(False)
        try:
            argv = _argv(accelerator, code, variables.fileno())
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", env={},
                user=uid, group=uid, extra_groups=supplementary, pass_fds=(code, variables.fileno()),
            )  # fmt: skip
        finally:
            os.close(code)
    try:
        return _judge(process)
    finally:
        process.kill()
        process.communicate()


def _argv(accelerator: str, code: int, variables: int) -> list[str]:
    return [
        firmware.QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-m", "128M", "-accel", accelerator,
        "-machine", "q35,pflash0=code,pflash1=vars", *command.firmware(code, variables),
        "-serial", "stdio", "-no-reboot",
    ]  # fmt: skip


def _judge(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + PATIENCE
    errors = b""
    streams = [process.stdout, process.stderr]
    while streams and (left := deadline - time.monotonic()) > 0:
        for stream in select.select(streams, [], [], left)[0]:
            data = os.read(stream.fileno(), 4096)
            if not data:
                streams.remove(stream)
            elif stream is process.stdout:
                return ""
            else:
                errors += data
                if b"KVM internal error" in errors:
                    return "a guest crashes with it (KVM internal error)"
    lines = errors.decode(errors="replace").strip().splitlines()
    if lines:
        return f"QEMU: {lines[-1][:120]}"
    return f"the firmware did not start with it within {PATIENCE:.0f} s"
