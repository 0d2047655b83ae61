"""A copy of one snapshot within the pool, by zfs send and zfs receive joined by a pipe."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
from collections.abc import Sequence

from ..run import ENVIRONMENT
from ..storage.locks import Progress
from .tool import explain, patient_zfs

ZFS = "zfs"
_TICK = 0.25
_SENT = re.compile(rb"^\d\d:\d\d:\d\d\t(\d+)\t", re.MULTILINE)
_SIZE = re.compile(rb"^size\t(\d+)$", re.MULTILINE)
_MOST = 64 << 10


def copy(snapshot: str, target: str, options: Sequence[str], progress: Progress) -> None:
    """Receive the snapshot as a new volume without any snapshot. options: of zfs receive (-o skep:...=...).

    progress: in bytes; when it raises, both ends are ended and nothing is left.
    """
    sender = subprocess.Popen(
        [ZFS, "send", "-c", "-L", "-e", "-v", "-P", snapshot],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    assert sender.stdout is not None
    receiver = subprocess.Popen(
        [ZFS, "receive", "-u", *options, target],
        stdin=sender.stdout, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    sender.stdout.close()  # so that the sender learns when the receiver ends
    try:
        said, refused = _follow(sender, receiver, progress)
    except BaseException:
        for process in (receiver, sender):
            process.kill()
        raise
    finally:
        for process in (receiver, sender):
            process.wait()
            if process.stderr:
                process.stderr.close()
    if receiver.returncode:
        raise explain("zfs receive", refused.decode(errors="replace"))
    if sender.returncode:
        raise explain("zfs send", said.decode(errors="replace"))
    patient_zfs("destroy", f"{target}@{snapshot.partition('@')[2]}", progress=progress)


def _follow(
    sender: subprocess.Popen[bytes], receiver: subprocess.Popen[bytes], progress: Progress
) -> tuple[bytes, bytes]:
    """Read what both say until they end; returns what each wrote to stderr (its end)."""
    said = {sender: b"", receiver: b""}
    done = total = 0
    with selectors.DefaultSelector() as selector:
        for process in said:
            assert process.stderr is not None
            selector.register(process.stderr, selectors.EVENT_READ, process)
        while selector.get_map():
            for key, _ in selector.select(_TICK):
                data = os.read(key.fd, 65_536)
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                said[key.data] = (said[key.data] + data)[-_MOST:]
                if key.data is sender:
                    total = max(total, *(int(size) for size in _SIZE.findall(said[sender])), 0)
                    done = max(done, *(int(sent) for sent in _SENT.findall(said[sender])), 0)
            progress(done, max(total, done))
    return said[sender], said[receiver]
