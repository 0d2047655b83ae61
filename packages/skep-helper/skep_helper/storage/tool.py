"""qemu-img, run without any privilege.

A disk was written by its guest's VMM and an image by whoever published it; root neither parses nor opens what they
say. So qemu-img runs as the last uid of the policy's guest range, in an empty environment, and sees the files as
descriptors: /dev/fd/N, for which the file's own permission counts (group of that uid), not that of the folders above
it, which are root's alone. The whole chain of a disk is given explicitly, so that nothing is taken from a header.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from skep_helper.handlers import Failure
from skep_helper.policy import Policy
from skep_helper.run import ENVIRONMENT

Progress = Callable[[int, int], None]
QEMU_IMG = "qemu-img"
_POLL = 0.25
_PERCENT = re.compile(rb"\(\s*([0-9.]+)/100%\)")
_FULL = "No space left on device"


def tool_uid(policy: Policy) -> int:
    """The uid and gid that qemu-img runs as. No guest may get it."""
    return policy.guest_uids[1]


def lend(policy: Policy, descriptor: int, mode: int = 0o660) -> None:
    """Let the tool at a file that root made, by its group; only root can reach the file by a path."""
    if os.geteuid() == 0:
        os.fchown(descriptor, 0, tool_uid(policy))
    os.fchmod(descriptor, mode)


def node(format: str, descriptor: int, base: tuple[str, int] | None = None) -> str:
    """An open file for qemu-img, as a `json:` name; base: format and descriptor of the image beneath it.

    Without a base there is none, whatever the file's header says.
    """
    described = _file(format, descriptor)
    if base:
        described["backing"] = {**_file(*base), "read-only": True, **({"backing": None} if base[0] == "qcow2" else {})}
    elif format == "qcow2":
        described["backing"] = None
    return "json:" + json.dumps(described)


def _file(format: str, descriptor: int) -> dict[str, Any]:
    return {"driver": format, "file": {"driver": "file", "filename": f"/dev/fd/{descriptor}"}}


def target_options(format: str, descriptor: int) -> str:
    """An open file that was just made, for qemu-img's --target-image-opts."""
    return f"driver={format},file.driver=file,file.filename=/dev/fd/{descriptor}"


def qemu_img(
    policy: Policy,
    arguments: Sequence[str],
    descriptors: Sequence[int],
    what: str,
    progress: Progress | None = None,
    total: int = 0,
) -> None:
    """Run qemu-img to its end; raises Failure("full") or Failure("failed") naming `what` was being done.

    progress: called several times a second (done and total in bytes, of `total`); when it raises, qemu-img is ended.
    Without it qemu-img is waited for.
    """
    user = {"user": tool_uid(policy), "group": tool_uid(policy), "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        process = subprocess.Popen(
            [QEMU_IMG, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=ENVIRONMENT, cwd="/", pass_fds=tuple(descriptors), **user,  # type: ignore[call-overload]
        )  # fmt: skip
    except FileNotFoundError:
        raise Failure("unsupported", "qemu-img is not installed on this host (apt install qemu-utils)") from None
    try:
        errors = _follow(process, progress, total)
    except BaseException:
        process.send_signal(signal.SIGKILL)
        raise
    finally:
        process.wait()
        process.stdout.close()
        process.stderr.close()
    if process.returncode != 0:
        raise _failure(what, process.returncode, errors)


def _follow(process: subprocess.Popen[bytes], progress: Progress | None, total: int) -> bytes:
    """Read what it writes until it closes both pipes; returns the end of standard error."""
    assert process.stdout is not None
    assert process.stderr is not None
    errors, done = b"", 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(_POLL):
                data = os.read(key.fd, 65_536)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    errors = (errors + data)[-4096:]
                elif found := _PERCENT.findall(data):
                    done = int(float(found[-1]) * total / 100)
            if progress:
                progress(done, total)
    return errors


def _failure(what: str, code: int, errors: bytes) -> Failure:
    lines = errors.decode(errors="replace").strip().splitlines()
    reason = lines[-1].removeprefix("qemu-img: ") if lines else f"exit {code}"
    if _FULL in reason:
        return Failure("full", f"{what}: no space left in the pool; free some or add a disk to it")
    return Failure("failed", f"{what}: qemu-img: {reason}")
