"""The dnsmasq process of a network: started in its stack, found again by pid file and proof, told of new leases."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from ...handlers import Failure
from ...policy import Policy
from ...run import run
from ...vocabulary import NetworkSpec
from . import dnsmasq, names, namespaces

_GRACE = 10.0
"""Seconds a stopping dnsmasq gets before it is killed."""


class Server:
    """dnsmasq of one network. namespace: the inode of the stack it must be in."""

    def __init__(self, policy: Policy, network: str, namespace: int) -> None:
        self.folder = names.state_folder(policy) / "dns" / network
        self.namespace = namespace

    def apply(self, spec: NetworkSpec, descriptor: int) -> None:
        """Make dnsmasq serve spec in the namespace of the descriptor: started, told, restarted or stopped."""
        if not any(subnet.own for subnet in spec.subnets):
            self.remove()
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
            namespaces.inside(descriptor, lambda: run(["dnsmasq", f"--conf-file={self.folder}/conf"]))
        elif reload:
            self._signal(signal.SIGHUP)

    def running(self) -> bool:
        with self._process() as process:
            return process is not None

    def stop(self) -> None:
        """End it and wait until it is gone, with its sockets. Repeatable. Raises Failure when it does not go: its user
        could write the pid file, so one that was taken over could show us another process for ever."""
        deadline = time.monotonic() + _GRACE
        while True:
            with self._process() as process:
                if process is None:
                    return
                if time.monotonic() > deadline or not _ends(process):
                    break
        raise Failure("failed", f"dnsmasq of {self.folder.name} does not end; see what runs in its namespace")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # others' may be in it
            self.folder.parent.rmdir()

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

    def _signal(self, number: signal.Signals) -> None:
        with self._process() as process, contextlib.suppress(ProcessLookupError):
            if process is not None:
                signal.pidfd_send_signal(process, number)

    @contextlib.contextmanager
    def _process(self) -> Iterator[int | None]:
        """A pidfd of our dnsmasq, or None. It is ours when its arguments and its stack are, so that neither a
        reused process id nor a pid file that dnsmasq's user wrote can point us at another process."""
        process = None
        try:
            number = int(self._read_pid() or 0)
            process = os.pidfd_open(number) if number > 0 else None
            ours = process is not None and self._is_ours(number)
        except (OSError, ValueError):
            ours = False
        try:
            yield process if ours else None
        finally:
            if process is not None:
                os.close(process)

    def _read_pid(self) -> bytes:
        descriptor = os.open(self.folder / "pid", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read(16)

    def _is_ours(self, number: int) -> bool:
        arguments = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
        return (
            os.fsencode(f"--conf-file={self.folder}/conf") in arguments
            and os.stat(f"/proc/{number}/ns/net").st_ino == self.namespace
        )


def _ends(process: int) -> bool:
    """End the process of this pidfd. It removes its pid file before it lets go of its sockets, so neither that file nor
    its arguments tell that it is gone."""
    gone = select.poll()
    gone.register(process, select.POLLIN)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, number)
        if gone.poll(_GRACE * 1000):
            return True
    return False


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("dnsmasq")
    except KeyError:
        return pwd.getpwnam("nobody")


def _resolver_file() -> str | None:
    """The host's list of name servers that a stack other than the host's can reach; None when there is none."""
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        with contextlib.suppress(OSError):
            words = [line.split() for line in Path(path).read_text().splitlines()]
            servers = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
            if any(not server.startswith("127.") and server != "::1" for server in servers):
                return path
    return None
