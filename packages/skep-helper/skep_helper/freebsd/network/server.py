"""The dnsmasq process of a network: started in its jail, found again by pid file, told of new leases.

Its methods that start, tell or find the process run in a process that is in the jail. There a process id can only mean
a process of that jail, and nothing else runs there for long: neither a reused id nor a pid file that dnsmasq's user
wrote can point us at another process of the host.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import time
from pathlib import Path

from ...handlers import Failure
from ...policy import Policy
from ...vocabulary import NetworkSpec
from . import dnsmasq, names
from .system import System

DNSMASQ = "dnsmasq"
_GRACE = 10.0
"""Seconds a stopping dnsmasq gets before it is killed."""


class Server:
    """dnsmasq of one network."""

    def __init__(self, policy: Policy, network: str) -> None:
        self.folder = names.state_folder(policy) / "dns" / network

    def apply(self, system: System, spec: NetworkSpec) -> None:
        """Make dnsmasq serve spec: started, told, restarted or stopped. In the jail."""
        if not wanted(spec):
            self.stop()
            self.forget()
            return
        account = _account()
        self._make_folders()
        resolv = _resolver_file() if spec.kind == "nat" and not spec.forwarders else None
        restart = self._write("conf", dnsmasq.configuration(spec, self.folder, account.pw_name, resolv))
        leases_changed = self._write("leases", dnsmasq.leases(spec))
        reload = self._write("names", dnsmasq.host_names(spec)) or leases_changed
        if restart:
            self.stop()
        if not self.running():
            system.run([DNSMASQ, f"--conf-file={self.folder}/conf"])
        elif reload:
            self._signal(signal.SIGHUP)

    def running(self) -> bool:
        """In the jail."""
        return self._signal(0)

    def stop(self) -> None:
        """End it and wait until it is gone, with its sockets. Repeatable. In the jail. Raises Failure when it does not
        go: its user could write the pid file, so one that was taken over could show us another process of the jail.

        It removes its pid file before it lets go of its sockets, so that file does not tell that it is gone.
        """
        deadline = time.monotonic() + _GRACE
        with contextlib.suppress(OSError, ValueError):  # no such process (any more)
            process = int(self._read_pid())
            if process > 0:
                os.kill(process, signal.SIGTERM)
            while process > 0:
                time.sleep(0.005)
                os.kill(process, 0 if time.monotonic() < deadline else signal.SIGKILL)
                if time.monotonic() > deadline + _GRACE:
                    raise Failure("failed", f"dnsmasq of {self.folder.name} does not end; see what runs in its jail")

    def forget(self) -> None:
        """Remove its files; the jail's end has ended the process."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # others' may be in it
            self.folder.parent.rmdir()

    def _signal(self, number: int) -> bool:
        """Whether there is such a process in the jail; 0 sends nothing."""
        with contextlib.suppress(OSError, ValueError):
            process = int(self._read_pid())
            if process > 0:
                os.kill(process, number)
                return True
        return False

    def _read_pid(self) -> bytes:
        descriptor = os.open(self.folder / "pid", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read(16)

    def _make_folders(self) -> None:
        """Readable by dnsmasq after it gave up root, and written by nobody but root.

        dnsmasq opens its leases as root before it gives that up, and keeps them open: were their folder its user's,
        a link there would let that user write any file of the host.
        """
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for folder in (self.folder.parent.parent, self.folder.parent, self.folder):
            folder.chmod(0o711)
        state = self.folder / "state"
        state.mkdir(mode=0o700, exist_ok=True)
        if state.stat().st_uid != os.geteuid():  # as an earlier version made it
            shutil.rmtree(state)
            state.mkdir(mode=0o700)

    def _write(self, name: str, text: str) -> bool:
        """Replace a file when it differs; returns whether it did."""
        path = self.folder / name
        with contextlib.suppress(FileNotFoundError):
            if path.read_text() == text:
                return False
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "w") as stream:
            os.fchmod(stream.fileno(), 0o644)
            stream.write(text)
        temporary.rename(path)
        return True


def wanted(spec: NetworkSpec) -> bool:
    """Whether a network needs a server: when its stack has an address."""
    return any(subnet.own for subnet in spec.subnets)


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("dnsmasq")
    except KeyError:
        return pwd.getpwnam("nobody")


def _resolver_file() -> str | None:
    """The host's list of name servers, when another stack than the host's can reach one of them."""
    path = "/etc/resolv.conf"
    with contextlib.suppress(OSError):
        words = [line.split() for line in Path(path).read_text().splitlines()]
        servers = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
        if any(not server.startswith("127.") and server != "::1" for server in servers):
            return path
    return None
