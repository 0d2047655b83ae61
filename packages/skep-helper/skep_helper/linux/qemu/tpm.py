"""A guest's TPM 2.0: swtpm, one process for each guest, which runs as the guest's user and is confined as its QEMU is.

It gets two descriptors: one end of a connection whose other end QEMU has (QEMU hands it a second one for commands),
and the file that its state is in. So it needs no name of any file or socket. It ends by itself when QEMU does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from ...guard.loop import READ, Future, Loop, Task
from ...guard.protocol import GuardError
from ...handlers import Failure
from ...run import run
from . import process

SWTPM = "/usr/bin/swtpm"
PACKAGE = "apt install swtpm"
FILES = 2
"""How many descriptors it gets: control, state."""
LEAVING = 10.0
"""Seconds for swtpm to end once QEMU has."""
_NOTICE = 1.0


def reason() -> str:
    """Why guests cannot have a TPM here; empty when they can. Found by asking swtpm what it can do."""
    try:
        can = run([SWTPM, "socket", "--tpm2", "--print-capabilities"])
    except Failure as failure:
        return f"{failure.message} ({PACKAGE})" if failure.code == "unsupported" else failure.message
    missing = [word for word in (b"tpm-2.0", b"nvram-backend-file") if word not in can]
    return f"{SWTPM} is too old, it lacks {missing[0].decode()}" if missing else ""


def argv(control: int, state: int) -> list[str]:
    """The state is opened anew by its number, with the rights that its user has."""
    return [
        SWTPM, "socket", "--tpm2", "--terminate", "--ctrl", f"type=unixio,clientfd={control}",
        "--tpmstate", f"backend-uri=file:///proc/self/fd/{state}",
    ]  # fmt: skip


class Tpm:
    """The swtpm of a guest as its guard sees it. record: the guard's state, whose key "tpm" says which process it is.

    changed(): to be called after each change. A guest without a TPM has one of these too, which does nothing.
    """

    def __init__(self, loop: Loop, record: dict[str, Any], changed: Callable[[], None]) -> None:
        self._loop, self._record, self._changed = loop, record, changed
        self._process = -1
        self._gone = Future()
        self._wanted = True

    def start(self, launch: dict[str, Any], descriptors: Sequence[int], errors: int) -> int:
        """Fork what becomes swtpm; returns its gate (process.spawn)."""
        first = process.FIRST_DESCRIPTOR
        pid, gate = process.spawn({**launch, "argv": argv(first, first + 1)}, descriptors, errors, "/")
        self._record["tpm"] = {"pid": pid, "start": process.start_time(pid)}
        self._follow(pid)
        return gate

    def adopt(self) -> None:
        """Follow what another guard started."""
        known = self._record.get("tpm")
        if not known:
            return
        try:
            self._follow(int(known["pid"]))
        except ProcessLookupError:
            self._ended()
            return
        if process.start_time(int(known["pid"])) != known["start"]:
            self._loop.unwatch(self._process)
            os.close(self._process)
            self._process = -1
            self._ended()

    def end(self) -> Task:
        """Wait until it has ended, which it does when QEMU has: only then may another one have its state."""
        self._wanted = False
        if self._process < 0:
            return
        try:
            yield self._loop.within(self._gone, LEAVING, "swtpm did not end")
        except GuardError:
            signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def _follow(self, pid: int) -> None:
        self._process = os.pidfd_open(pid)
        self._loop.watch(self._process, READ, lambda _: self._ended())

    def _ended(self) -> None:
        if self._process >= 0:
            self._loop.unwatch(self._process)
        self._gone.succeed()
        # QEMU may be ending too, and only be noticed after this.
        self._loop.later(_NOTICE, self._tell)

    def _tell(self) -> None:
        if self._wanted:
            self._record["message"] = "its TPM has ended (swtpm died); restart the guest to have it back"
            self._changed()
