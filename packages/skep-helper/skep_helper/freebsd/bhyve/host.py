"""What a guard does to its host around bhyve: jails, taps, VMs. The one place of it, so that tests can stand in for it.

A guard lives as long as its guest, so this imports little. Everything raises GuardError(failed) with the tool's words.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ... import processes
from ...guard import protocol
from ...guard.protocol import GuardError
from . import jail as jails
from . import line, process, taps
from .jail import Jail

PATIENCE = 120.0
"""Seconds for one tool. Giving back a large guest's memory takes seconds, everything else milliseconds."""
_LOOKS, _PAUSE = 100, 0.05
"""How often, and how many seconds apart, it is looked whether a process that was killed is gone."""
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_SIOCAIFADDR, _SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8044692B, 0xC0206911, 0x80206910
_IFF_UP = 1
_AF_INET = 2
_TITLE = re.compile(r"^\s*(\d+)\s+bhyve: (\S+)(?: \(bhyve\))?$", re.MULTILINE)
_ABSENT = "could not be opened: No such file or directory"


def run(argv: Sequence[str]) -> str:
    """Run a tool to its end; returns what it wrote to standard output."""
    try:
        done = processes.finish(argv, b"", _ENVIRONMENT, PATIENCE)
    except processes.Late as late:
        raise GuardError("timeout", str(late)) from None
    except OSError as error:
        raise GuardError("failed", f"{argv[0]}: {error.strerror}") from None
    if done.returncode:
        # bhyvectl tells errors of the kernel on standard output.
        words = (done.stderr.strip() or done.stdout.strip() or b"no message").decode(errors="replace").splitlines()[0]
        raise GuardError("failed", f"{' '.join(argv[:4])}: {words} (exit {done.returncode})")
    return done.stdout.decode(errors="replace")


class Host:
    """The real one."""

    status = staticmethod(process.status)
    title = staticmethod(process.title)
    watch = process.Exit

    def open_line(self, device: str) -> tuple[int, int]:
        return line.open_line(device)

    def free_line(self, device: str) -> None:
        """Have the kernel forget a line that nobody uses, for instance one that somebody looked up on the host: closing
        the last end does it."""
        try:
            os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
        except OSError as error:
            raise GuardError("failed", f"{device}: {error.strerror}; is nmdm(4) loaded?") from None

    def destroy_vm(self, vm: str) -> None:
        """Give back what a VM holds, also one whose bhyve was killed; repeatable. Never of a bhyve that lives: that
        would end it (``user_of`` tells)."""
        with _tolerating(_ABSENT):
            run(["bhyvectl", f"--vm={vm}", "--destroy"])

    def user_of(self, vm: str) -> int:
        """The pid of a bhyve that runs this VM, whoever started it; 0 for none."""
        return find_user(run(["ps", "-axww", "-o", "pid=", "-o", "command="]), vm)

    def force(self, vm: str, how: str) -> None:
        """how: poweroff or reset. Done already, when the VM was ended by something else meanwhile."""
        with _tolerating("errno = 37", _ABSENT):
            run(["bhyvectl", f"--vm={vm}", f"--force-{how}"])

    def make_jail(self, jail: Jail) -> int:
        """Make it, what is left of an earlier one removed; returns its number."""
        self.remove_jail(jail)
        for folder in (jail.root, *([jail.agent] if jail.agent else [])):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        for command in (*jails.mounts(jail), *jails.rules(jail), jails.create(jail)):
            run(command)
        number = self.find_jail(jail)
        inside(number, _configure_loopback)
        return number

    def find_jail(self, jail: Jail) -> int:
        """Its number; 0 when there is none."""
        with contextlib.suppress(GuardError):
            return int(run(jails.identify(jail)).split()[0])
        return 0

    def remove_jail(self, jail: Jail) -> None:
        """Repeatable; also removes what a failed start left of it."""
        if self.find_jail(jail):
            run(jails.remove(jail))
        for command in jails.unmounts(jail, jails.mount_points(run(["mount", "-p"]))):
            run(command)
        run(jails.forget_rules(jail))

    def gather(self, policy: dict[str, Any], ports: Sequence[taps.Port], number: int) -> None:
        """Bring taps into the guest's jail, where bhyve opens them."""
        if ports:
            inside(0, lambda: taps.lend(policy, ports, number))

    def spread(self, policy: dict[str, Any], ports: Sequence[taps.Port]) -> None:
        """Put taps into their networks; bhyve keeps them open. Repeatable."""
        if ports:
            inside(0, lambda: taps.take(policy, ports))

    def connect(self, number: int, port: int) -> socket.socket:
        """A connection to 127.0.0.1 within a jail's stack. Raises GuardError(busy) when nobody accepts it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            inside(number, lambda: _send_connection(theirs, port))
            _, descriptors = protocol.receive(ours)
        return socket.socket(fileno=descriptors[0])


def find_user(listing: str, vm: str) -> int:
    """user_of() from the output of ps. Empty title: of a bhyve that is still starting, which its guard knows of."""
    return next((int(pid) for pid, name in _TITLE.findall(listing) if name == vm), 0)


@contextlib.contextmanager
def _tolerating(*texts: str) -> Iterator[None]:
    """Let a GuardError pass whose message has one of these texts: what was to be done is done."""
    try:
        yield
    except GuardError as error:
        if not any(text in error.message for text in texts):
            raise


def inside(number: int, work: Callable[[], None]) -> None:
    """Do something by a process of its own, in a jail (0: in none); raises GuardError(failed) with its words."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            process.enter_jail(number)
            work()
        except BaseException as error:  # noqa: BLE001 - there is nobody above this: say why and end
            os.write(writer, str(error).encode()[:512] or b"?")
        finally:
            os._exit(0)
    os.close(writer)
    try:
        words = _words(reader, pid)
    finally:
        os.close(reader)
    if words:
        raise GuardError("failed", f"in jail {number}: {words}" if number else words)


def _words(reader: int, pid: int) -> str:
    """What a child says until it ends; one that does not end in time is killed, and said to be late."""
    end, words = time.monotonic() + PATIENCE, b""
    while select.select([reader], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(reader, 4096)
        if not part:
            os.waitpid(pid, 0)
            return words.decode(errors="replace")
        words += part
    os.kill(pid, signal.SIGKILL)
    for _ in range(_LOOKS):
        if os.waitpid(pid, os.WNOHANG)[0]:
            return f"not done within {PATIENCE:.0f} s"
        time.sleep(_PAUSE)
    return f"not done within {PATIENCE:.0f} s, and process {pid} cannot be killed: see for what it waits (procstat -kk)"


def _configure_loopback() -> None:
    """127.0.0.1/8 on lo0, which a new stack has without an address. By ioctls, because there is no tool inside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        name = b"lo0".ljust(16, b"\0")
        fcntl.ioctl(control, _SIOCAIFADDR, name + _address("127.0.0.1") + bytes(16) + _address("255.0.0.0") + bytes(4))
        flags = struct.unpack_from("=h", fcntl.ioctl(control, _SIOCGIFFLAGS, name + bytes(16)), 16)[0]
        fcntl.ioctl(control, _SIOCSIFFLAGS, name + struct.pack("=h", flags | _IFF_UP) + bytes(14))


def _address(text: str) -> bytes:
    """struct sockaddr_in of FreeBSD, which begins with its length."""
    return struct.pack("=BBH4s8x", 16, _AF_INET, 0, socket.inet_aton(text))


def _send_connection(channel: socket.socket, port: int) -> None:
    """Without a look at names, which would import modules that the jail does not have."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.connect(("127.0.0.1", port))
        protocol.send(channel, {}, [connection.fileno()])
