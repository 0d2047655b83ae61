"""The door to the kernel: processes, jails, sysctls, and what is read by ioctl and by a netgraph socket.

One object, so that tests put another in its place. What is read of a stack is read without a process: a fork of the
helper enters the jail (it cannot leave it again), asks there, hands its answer over by a pipe and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ... import run as processes
from ...handlers import Failure
from ...vocabulary import Rejected
from . import netgraph

UP, RUNNING = 0x1, 0x40
ENTERED = 300.0
"""Seconds for what is done in a jail at a time, with all its tools."""
_LOOKS, _PAUSE = 100, 0.05
_JAIL_CREATE, _SYS_NEW = 0x01, 1
_GET_FLAGS, _GET_MTU, _GET_SPEC, _SET_SPEC = 0xC0206911, 0xC0206933, 0xC028697B, 0x8028697B
_MEMBERS, _MEMBER_SIZE = 6, 80
_PF_START, _PF_RULESETS, _PF_RULESET = 0x20004401, 0xC444443A, 0xC444443B
_PF_RULES, _PF_RULES_SIZE, _PF_RULES_COUNT = 0xCBE04406, 3040, 12
"""DIOCGETRULES, the size of what it takes (all zero: the main ruleset), and where it puts their number."""
_RULESET = struct.Struct("=I1024s64s")
_AF_LINK = 18
_IF_DATA = struct.Struct("=4xB59xQQ")
"""Of struct if_data, the same since FreeBSD 11: the link's state, bytes received, bytes sent."""
_GRAPH_FAMILY, _GRAPH_CONTROL, _GRAPH_ANSWER = 32, 2, 1 << 20


class System:
    """Methods raise Failure (a tool failed) and OSError (a call did)."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> bytes:
        """Run a tool in the calling process's stack."""
        return processes.run(argv, stdin)

    def enter(self, jid: int, work: Callable[[], Any]) -> Any:
        """Run work in a process of its own in a jail. What it returns must be JSON; what it raises is raised here."""
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reader)
            _end_with(writer, lambda: self._attached(jid, work))
        os.close(writer)
        try:
            answer = _read(reader, ENTERED)
        except BaseException as error:
            os.kill(process, signal.SIGKILL)
            if not _reaped(process) and isinstance(error, TimeoutError):
                hangs = f"process {process} of the helper hangs in the kernel, in jail {jid}, and cannot be killed"
                raise Failure("timeout", f"{hangs}: see for what (procstat -kk {process})") from None
            if isinstance(error, TimeoutError):
                raise Failure("timeout", f"work in jail {jid} was not done within {ENTERED:.0f} s") from None
            raise
        finally:
            os.close(reader)
        os.waitpid(process, 0)
        return _unpack(answer)

    def _attached(self, jid: int, work: Callable[[], Any]) -> Any:
        self._check(self._libc.jail_attach(jid), f"entering jail {jid}")
        return work()

    def start_responder(self, interface: str, known: Mapping[bytes, bytes], own: bytes) -> int:
        """In a jail: a process that answers ARP and ND on an interface (see responder); its pid."""
        from .responder import start

        return start(interface, known, own)

    def make_jail(self, name: str) -> int:
        """A jail with a network stack of its own and the host's files; it stays until it is removed."""
        return self._jail(
            "jail_set", _JAIL_CREATE, ("name", name), ("path", "/"), ("vnet", _SYS_NEW), ("persist", None)
        )

    def jail_id(self, name: str) -> int:
        """0 when there is no jail of this name (one that is dying is none)."""
        try:
            return self._jail("jail_get", 0, ("name", name))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return 0
            raise

    def remove_jail(self, jid: int) -> None:
        self._check(self._libc.jail_remove(jid), f"removing jail {jid}")

    def _jail(self, call: str, flags: int, *parameters: tuple[str, str | int | None]) -> int:
        message = ctypes.create_string_buffer(1024)
        buffers = [ctypes.create_string_buffer(b"errmsg"), message]
        for name, value in parameters:
            buffers += [ctypes.create_string_buffer(name.encode()), _buffer(value)]
        table = (_Iovec * len(buffers))(*(
            _Iovec(ctypes.addressof(buffer) if len(buffer) else None, len(buffer)) for buffer in buffers
        ))  # fmt: skip
        jid: int = getattr(self._libc, call)(table, len(buffers), flags)
        if jid < 0:
            number = ctypes.get_errno()
            raise OSError(number, message.value.decode(errors="replace") or f"{call}: {os.strerror(number)}")
        return jid

    def load_modules(self, names: Iterable[str]) -> None:
        """Load kernel modules that are not there (also those compiled in count as there); raises OSError."""
        for name in names:
            if self._libc.kldload(name.encode()) < 0 and ctypes.get_errno() != errno.EEXIST:
                self._check(-1, f"loading the kernel module {name}")

    def sysctl(self, name: str) -> int:
        """A value of the calling process's stack; raises OSError."""
        return int.from_bytes(self._sysctl(name), "little")

    def set_sysctl(self, name: str, value: int) -> None:
        """Set a value, in as many bytes as it has (some are an int on one release and a bool on the next)."""
        new = value.to_bytes(len(self._sysctl(name)), "little")
        result = self._libc.sysctlbyname(name.encode(), None, None, new, ctypes.c_size_t(len(new)))
        self._check(result, f"setting sysctl {name}")

    def _sysctl(self, name: str) -> bytes:
        value, size = ctypes.create_string_buffer(8), ctypes.c_size_t(8)
        result = self._libc.sysctlbyname(name.encode(), value, ctypes.byref(size), None, ctypes.c_size_t(0))
        self._check(result, f"reading sysctl {name}")
        return value.raw[: size.value]

    def interfaces(self) -> dict[str, int]:
        """The flags of every interface of the calling process's stack."""
        with _datagram() as inet:
            found = {}
            for _, name in socket.if_nameindex():
                with contextlib.suppress(OSError):  # it went in the meantime
                    answer = fcntl.ioctl(inet, _GET_FLAGS, struct.pack("=16s16x", name.encode()))
                    low, high = struct.unpack_from("=HH", answer, 16)
                    found[name] = high << 16 | low
            return found

    def counters(self) -> dict[str, Counters]:
        """What each interface of the calling process's stack moved, and its link."""
        first = ctypes.POINTER(_Ifaddrs)()
        self._check(self._libc.getifaddrs(ctypes.byref(first)), "asking for interfaces")
        found, at = {}, first
        while at:
            entry = at.contents
            family = ctypes.string_at(entry.address, 2)[1] if entry.address else 0
            if family == _AF_LINK and entry.data:
                found[entry.name.decode()] = parse_counters(ctypes.string_at(entry.data, _IF_DATA.size))
            at = entry.next
        self._libc.freeifaddrs(first)
        return found

    def device(self, interface: str) -> str:
        """What /dev has for a tap, whatever its interface is called (also when that is in a jail's stack)."""
        return os.path.basename(os.readlink(f"/dev/{interface}"))

    def mtu(self, name: str) -> int:
        with _datagram() as inet:
            answer = fcntl.ioctl(inet, _GET_MTU, struct.pack("=16s16x", name.encode()))
            return int(struct.unpack_from("=i", answer, 16)[0])

    def members(self, bridge: str) -> list[str]:
        """The members of a bridge, span ports left out as there are none."""
        size = _MEMBER_SIZE * 1024
        buffer = ctypes.create_string_buffer(size)
        request = ctypes.create_string_buffer(struct.pack("=I4xQ", size, ctypes.addressof(buffer)), 16)
        self._drive(bridge, _GET_SPEC, _MEMBERS, request)
        (used,) = struct.unpack_from("=I", request.raw)
        return split_members(buffer.raw[:used], {name for _, name in socket.if_nameindex()})

    def drive(self, name: str, command: int, data: bytes) -> None:
        """SIOCSDRVSPEC: a command of an interface's driver."""
        self._drive(name, _SET_SPEC, command, ctypes.create_string_buffer(data, len(data)))

    def _drive(self, name: str, request: int, command: int, data: ctypes.Array[ctypes.c_char]) -> None:
        with _datagram() as inet:
            fcntl.ioctl(
                inet, request, struct.pack("=16sQQQ", name.encode(), command, len(data), ctypes.addressof(data))
            )

    def start_pf(self) -> bool:
        """Switch the stack's pf on; whether it was off."""
        with open("/dev/pf", "rb+", buffering=0) as pf:
            try:
                fcntl.ioctl(pf, _PF_START)
            except OSError as error:
                if error.errno == errno.EEXIST:
                    return False
                raise
        return True

    def main_rules(self) -> int:
        """How many rules the stack's main ruleset has (anchors among them); -1 when this kernel tells it otherwise."""
        data = bytearray(_PF_RULES_SIZE)
        with open("/dev/pf", "rb+", buffering=0) as pf:
            try:
                fcntl.ioctl(pf, _PF_RULES, data, True)
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):
                    return -1
                raise
        return int(struct.unpack_from("=I", data, _PF_RULES_COUNT)[0])

    def anchors(self, path: str) -> list[str]:
        """The anchors right below one, as names without it. An anchor without rules is not there."""
        with open("/dev/pf", "rb+", buffering=0) as pf:
            try:
                count, _ = _ruleset(pf, _PF_RULESETS, 0, path)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINVAL):
                    return []
                raise
            return [_ruleset(pf, _PF_RULESET, number, path)[1] for number in range(count)]

    def nodes(self) -> dict[str, tuple[str, int]]:
        """The named netgraph nodes of the stack: name -> (type, hooks)."""
        with socket.socket(_GRAPH_FAMILY, socket.SOCK_DGRAM, _GRAPH_CONTROL) as graph:
            graph.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _GRAPH_ANSWER)
            message, target = netgraph.list_names(1), netgraph.address(".:")
            sent = self._libc.sendto(graph.fileno(), message, len(message), 0, target, len(target))
            if sent < 0:
                self._check(-1, "asking netgraph")
            return netgraph.parse_names(os.read(graph.fileno(), _GRAPH_ANSWER))

    def _check(self, result: int, what: str) -> None:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")


class Counters(NamedTuple):
    """Bytes; link: 0 unknown, 1 down, 2 up (LINK_STATE_*)."""

    received: int
    sent: int
    link: int


def parse_counters(data: bytes) -> Counters:
    """From a struct if_data."""
    link, received, sent = _IF_DATA.unpack(data)
    return Counters(received, sent, link)


class _Ifaddrs(ctypes.Structure):
    """struct ifaddrs."""


_Ifaddrs._fields_ = [
    ("next", ctypes.POINTER(_Ifaddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
    ("mask", ctypes.c_void_p),
    ("destination", ctypes.c_void_p),
    ("data", ctypes.c_void_p),
]


def split_members(data: bytes, known: Collection[str]) -> list[str]:
    """From what BRDGGIFS gives: the names at the beginning of each struct ifbreq, whose size may grow with a release.

    known: the interfaces that there are. Raises OSError when no size fits."""
    for size in range(_MEMBER_SIZE, 2 * _MEMBER_SIZE, 4):
        found = [_text(data[at : at + 16]) for at in range(0, len(data), size)]
        if len(data) % size == 0 and all(name in known for name in found):
            return found
    raise OSError(errno.EINVAL, "this kernel tells the members of a bridge in a way that is not known here")


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def _read(reader: int, seconds: float) -> bytes:
    """All that comes until the other end is closed; raises TimeoutError."""
    end = time.monotonic() + seconds
    found = b""
    while select.select([reader], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(reader, 1 << 16)
        if not part:
            return found
        found += part
    raise TimeoutError


def _reaped(process: int) -> bool:
    """Whether a process that was killed is gone; one that hangs in the kernel is not."""
    for _ in range(_LOOKS):
        if os.waitpid(process, os.WNOHANG)[0]:
            return True
        time.sleep(_PAUSE)
    return False


def _end_with(writer: int, work: Callable[[], Any]) -> None:
    """The child's end: hand over what work returns or raises, and leave nothing of the parent behind."""
    try:
        answer = json.dumps(_outcome(work)).encode()
        while answer:
            answer = answer[os.write(writer, answer) :]
    finally:
        os._exit(0)


def _outcome(work: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"value": work()}
    except Failure as error:
        return {"failure": [error.code, error.message]}
    except Rejected as error:
        return {"rejected": str(error)}
    except OSError as error:
        return {"error": [error.errno, error.strerror or str(error)]}
    except Exception as error:  # noqa: BLE001 - raised again in the parent, with what is known of it
        return {"failure": ["failed", f"a defect of the helper, in a jail ({type(error).__name__}: {error})"]}


def _unpack(answer: bytes) -> Any:
    if not answer:
        raise Failure("failed", "a process of the helper ended in a jail before it was done; try again")
    table = json.loads(answer)
    if "failure" in table:
        raise Failure(*table["failure"])
    if "rejected" in table:
        raise Rejected(table["rejected"])
    if "error" in table:
        raise OSError(*table["error"])
    return table["value"]


def _buffer(value: str | int | None) -> ctypes.Array[ctypes.c_char]:
    if isinstance(value, int):
        return ctypes.create_string_buffer(struct.pack("=i", value), 4)
    return ctypes.create_string_buffer(value.encode()) if value is not None else ctypes.create_string_buffer(0)


def _datagram() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _ruleset(pf: Any, request: int, number: int, path: str) -> tuple[int, str]:
    """(how many there are, the name of this one); the structure is too long for an immutable argument of ioctl."""
    data = bytearray(_RULESET.pack(number, path.encode(), b""))
    fcntl.ioctl(pf, request, data, True)
    count, _, name = _RULESET.unpack(data)
    return count, _text(name)


def _text(value: bytes) -> str:
    return value.split(b"\0")[0].decode(errors="replace")
