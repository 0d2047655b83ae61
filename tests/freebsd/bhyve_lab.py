"""A guard around the stand-in for bhyve on any system: a pty is its serial line, files stand for jails and VMs."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import signal
import socket
import sys
import time
import tty
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from skep_helper.freebsd.bhyve import driver, process
from skep_helper.freebsd.bhyve.host import Host
from skep_helper.freebsd.bhyve.jail import Jail
from skep_helper.guard import client, guard, protocol, state
from skep_helper.guard.protocol import GuardError
from skep_helper.policy import Policy

FAKE = str(Path(__file__).parent / "fake_bhyve.py")
SAFETY = 60.0
DRIVER = "skep_helper.freebsd.bhyve.driver"


def caught(pid: int, kind: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(kind)), 16)


class PidfdExit:
    """Like process.Exit. Of a process that is not a child only what it wrote down is known."""

    folder = Path()

    def __init__(self, pid: int) -> None:
        if (self.folder / "fail-watch").exists():
            raise OSError(errno.EMFILE, "too many open files")
        self._pid = pid
        self._descriptor = os.pidfd_open(pid)

    def fileno(self) -> int:
        return self._descriptor

    def status(self) -> int:
        with contextlib.suppress(ChildProcessError):
            found = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
            assert found is not None
            return found.si_status << 8 if found.si_code == os.CLD_EXITED else found.si_status
        written = self.folder / f"exit.{self._pid}"
        return int(written.read_text()) << 8 if written.exists() else signal.SIGKILL

    def close(self) -> None:
        os.close(self._descriptor)


class StandIn(Host):
    """What the driver asks of its host, written down in `log`."""

    watch = PidfdExit  # type: ignore[assignment]

    def __init__(self, folder: Path, line: int) -> None:
        self.folder = folder
        self._line = line
        PidfdExit.folder = folder

    def note(self, *words: object) -> None:
        with open(self.folder / "log", "a") as stream:
            stream.write(" ".join(str(word) for word in words) + "\n")

    def fails(self, what: str) -> None:
        if (self.folder / f"fail-{what}").exists():
            raise GuardError("failed", f"{what} does not work")

    def status(self, pid: int) -> process.Status | None:  # type: ignore[override]
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        if fields[0] in "ZX":
            return None
        button = caught(pid, "SigCgt") >> (signal.SIGTERM - 1) & 1
        return process.Status(fields[19], fields[0] == "T", bool(button))

    def title(self, pid: int) -> str:  # type: ignore[override]
        path = self.folder / f"title.{pid}"
        return path.read_text() if path.exists() else "fake_bhyve"

    def open_line(self, device: str) -> tuple[int, int]:
        self.note("line", device)
        self.fails("line")
        return os.dup(self._line), os.dup(self._line)

    def free_line(self, device: str) -> None:
        self.note("free", device)

    def destroy_vm(self, vm: str) -> None:
        self.note("destroy", vm)

    def user_of(self, vm: str) -> int:
        self.fails("ps")
        path = self.folder / "foreign"
        return int(path.read_text()) if path.exists() else 0

    def force(self, vm: str, how: str) -> None:
        self.note("force", how)
        self.fails("force")
        pid = int((self.folder / "runs").read_text().split()[-1])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1 if how == "poweroff" else signal.SIGUSR2)

    def make_jail(self, jail: Jail) -> int:
        self.note("jail", jail.name)
        self.fails("jail")
        (self.folder / "jail").touch()
        return 7

    def find_jail(self, jail: Jail) -> int:
        return 7 if (self.folder / "jail").exists() else 0

    def remove_jail(self, jail: Jail) -> None:
        self.note("unjail", jail.name)
        (self.folder / "jail").unlink(missing_ok=True)

    def gather(self, policy: dict[str, Any], ports: Sequence[Any], number: int) -> None:
        self.note("gather", number)

    def spread(self, policy: dict[str, Any], ports: Sequence[Any]) -> None:
        self.note("spread")
        self.fails("spread")


class Lab:
    """One guest, "g1". Its guards run in forked processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.policy = Policy(pool=folder / "pool", run=folder / "run")
        (folder / "pool/guests/g1/serial").mkdir(parents=True)
        self.runtime = state.Folder(str(self.policy.run), "g1")
        self.runtime.make()
        self.line, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self.line, False)
        self.guards: list[int] = []
        os.mkfifo(self.runtime.errors)
        self.media: dict[str, str] = {}

    def write(self, name: str, *plan: dict[str, Any], media: bool = False) -> str:
        """A configuration and its plan; returns its path."""
        (self.folder / "plan.json").write_text(json.dumps(plan))
        settings = {
            "name": "skep.g1", "fake.folder": str(self.folder), "lpc.com1.path": os.ttyname(self._theirs),
            "pci.0.4.0.path": "/dev/fd/4", **({"pci.0.5.0.port.0.path": "/dev/fd/5"} if media else {}),
        }  # fmt: skip
        path = self.folder / name
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return str(path)

    def launch(self, *plan: dict[str, Any], media: bool = False) -> dict[str, Any]:
        conf, after = self.write("conf", *plan, media=media), self.write("conf-after", *plan)
        disk = self.folder / "disk"
        disk.write_bytes(b"disk")
        files = [[conf, False], [str(disk), True], [str(disk) if media else "", False]]
        jail = Jail(name="skep_g_g1", vm="skep.g1", root="/j", shared="/s", ruleset=20000)
        record = {
            "guest": "g1", "digest": "ab" * 8, "memory": 1 << 28, "driver": DRIVER, "accelerator": "vmm",
            "state": "stopped", "pid": 0, "start": "", "started": 0.0, "ending": "", "ended": 0.0, "reboots": 0,
            "message": "", "screen": False, "serial_start": -1, "history": str(self.folder / "pool/guests/g1/serial"),
            "detached_file": str(self.folder / "detached.json"), "disks": {"disk": []}, "jail": 0, "again": False,
            "spread": True, "media": {"cd:1": 5} if media else {}, "detached": [], "media_detached": False,
            "launch": {
                "argv": [sys.executable, FAKE, "-k", "/dev/fd/3"], "line": os.ttyname(self._theirs), "files": files,
                "files_after": [[after, False], files[1], ["", False]], "jail": jail.to_json(),
                "ports": [["g1.lan", "tap1"]], "policy": {}, "screen": 0, "password": "",
            },
        }  # fmt: skip
        return {"state": record}

    def guard(self, message: dict[str, Any]) -> dict[str, Any]:
        """Fork a guard; returns its first answer."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lock = state.acquire(self.runtime) if "launch" in message else -1
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                self._become(theirs, message, lock)
            os._exit(0)
        self.guards.append(pid)
        theirs.close()
        if lock is not None and lock >= 0:
            os.close(lock)
        with ours:
            ours.settimeout(SAFETY)
            answer, _ = protocol.receive(ours)
        return protocol.answer_of(answer)

    def _become(self, connection: socket.socket, message: dict[str, Any], lock: int | None) -> None:
        os.setsid()
        driver.BREATH, driver.LOOK, driver.PRESS, driver.QUIT, driver.AGAIN = 0.05, 0.02, 0.1, 2.0, 0.1
        driver.Driver.host = StandIn(self.folder, self.line)
        process.enter_jail = lambda jail: None
        descriptors = [] if lock is None or lock < 0 else [lock]
        guard.run(connection, {"run": str(self.policy.run), "guest": "g1", **message}, descriptors)

    def start(self, *plan: dict[str, Any], media: bool = False) -> dict[str, Any]:
        return self.guard({"launch": self.launch(*plan, media=media)})

    def adopt(self) -> dict[str, Any]:
        return self.guard({})

    def kill_guard(self) -> None:
        os.kill(self.guards[-1], signal.SIGKILL)
        os.waitpid(self.guards[-1], 0)

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return client.ask(self.policy, "g1", {"op": operation, **arguments})

    def record(self) -> dict[str, Any]:
        return state.read(self.runtime) or {}

    def log(self) -> list[str]:
        return (self.folder / "log").read_text().splitlines()

    def runs(self) -> list[int]:
        path = self.folder / "runs"
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + SAFETY
        while not true():
            assert time.monotonic() < end, (self.record(), self.log(), Path(self.runtime.log).read_text())
            time.sleep(0.01)

    def wait_end(self) -> dict[str, Any]:
        self.until(lambda: bool(self.record().get("ended")) and not state.guarded(self.runtime))
        return self.record()

    def history(self) -> bytes:
        folder = self.folder / "pool/guests/g1/serial"
        return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))

    def close(self) -> None:
        for pid in (*self.guards, *self.runs()):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                if pid in self.guards or FAKE in Path(f"/proc/{pid}/cmdline").read_text(errors="replace"):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        os.close(self.line)
        os.close(self._theirs)
