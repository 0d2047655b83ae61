"""What FreeBSD's kernel tells anybody: sysctls, interfaces and what lies beneath them. No process, no privilege.

One object, so that tests put another in its place. Layouts are those of 64-bit FreeBSD, as net/if_bridgevar.h,
net/if_vlan_var.h and net/if_lagg.h give them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_GET_SPEC, _GET_VLAN, _GET_LAGG = 0xC028697B, 0xC020693A, 0xC050698F
_BRIDGE_MEMBERS, _MEMBER_SIZE, _MOST_MEMBERS = 6, 80, 1024
_LAGG_PORT, _MOST_LAGG_PORTS = struct.Struct("=16s16s40x"), 32
_LAGG = struct.Struct("=16sI4xQQi36x")
_INET, _INET6 = 2, 28
_NAME_OF, _NEXT = 1, 2
_DEEPEST, _LONGEST = 24, 4096


class _IfAddrs(ctypes.Structure):
    """struct ifaddrs."""


_IfAddrs._fields_ = [
    ("next", ctypes.POINTER(_IfAddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
    ("mask", ctypes.c_void_p),
    ("destination", ctypes.c_void_p),
    ("data", ctypes.c_void_p),
]


class Kernel:
    """Methods raise OSError."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def number(self, name: str) -> int:
        """A sysctl that is a number."""
        return int.from_bytes(self._by_name(name), "little")

    def text(self, name: str) -> str:
        """A sysctl that is a text."""
        return self._by_name(name).split(b"\0")[0].decode(errors="replace")

    def texts_below(self, name: str) -> dict[str, str]:
        """Every sysctl below a name, by its full name; none when there is no such name."""
        numbers, count = (ctypes.c_int * _DEEPEST)(), ctypes.c_size_t(_DEEPEST)
        if self._libc.sysctlnametomib(name.encode(), numbers, ctypes.byref(count)) != 0:
            return {}
        root = tuple(numbers[: count.value])
        return {found: self.text(found) for found in self._names_below(root)}

    def _names_below(self, root: tuple[int, ...]) -> Iterator[str]:
        place = root
        with contextlib.suppress(FileNotFoundError):  # the last of all
            while True:
                following = self._by_number((0, _NEXT, *place))
                place = struct.unpack(f"={len(following) // 4}i", following)
                if place[: len(root)] != root:
                    return
                yield self._by_number((0, _NAME_OF, *place)).split(b"\0")[0].decode()

    def _by_name(self, name: str) -> bytes:
        value, size = ctypes.create_string_buffer(_LONGEST), ctypes.c_size_t(_LONGEST)
        result = self._libc.sysctlbyname(name.encode(), value, ctypes.byref(size), None, ctypes.c_size_t(0))
        return self._answer(result, value, size, f"sysctl {name}")

    def _by_number(self, numbers: tuple[int, ...]) -> bytes:
        value, size = ctypes.create_string_buffer(_LONGEST), ctypes.c_size_t(_LONGEST)
        asked = (ctypes.c_int * len(numbers))(*numbers)
        result = self._libc.sysctl(asked, len(numbers), value, ctypes.byref(size), None, ctypes.c_size_t(0))
        return self._answer(result, value, size, f"sysctl {numbers}")

    @staticmethod
    def _answer(result: int, value: ctypes.Array[ctypes.c_char], size: ctypes.c_size_t, what: str) -> bytes:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")
        return value.raw[: size.value]

    def addresses(self) -> list[tuple[str, Address]]:
        """Every address of the host with its interface."""
        first = ctypes.POINTER(_IfAddrs)()
        if self._libc.getifaddrs(ctypes.byref(first)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"getifaddrs: {os.strerror(number)}")
        found = []
        try:
            entry = first
            while entry:
                address = _address(entry.contents.address)
                if address is not None:
                    found.append((entry.contents.name.decode(errors="replace"), address))
                entry = entry.contents.next
        finally:
            self._libc.freeifaddrs(first)
        return found

    def beneath(self, name: str) -> tuple[str, ...]:
        """The interfaces right below one: members of a bridge, ports of a lagg, the parent of a VLAN."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for look in (_members, _parent, _ports):
                with contextlib.suppress(OSError):  # it is of another kind, or gone
                    return look(control, name)
        return ()


def _address(place: int | None) -> Address | None:
    """Of a struct sockaddr; None for other families than IP."""
    if not place:
        return None
    _, family = struct.unpack("=BB", ctypes.string_at(place, 2))
    if family == _INET:
        return ipaddress.IPv4Address(ctypes.string_at(place + 4, 4))
    return ipaddress.IPv6Address(ctypes.string_at(place + 8, 16)) if family == _INET6 else None


def _members(control: socket.socket, name: str) -> tuple[str, ...]:
    buffer = ctypes.create_string_buffer(_MEMBER_SIZE * _MOST_MEMBERS)
    request = ctypes.create_string_buffer(struct.pack("=I4xQ", len(buffer), ctypes.addressof(buffer)), 16)
    asked = struct.pack("=16sQQQ", name.encode(), _BRIDGE_MEMBERS, len(request), ctypes.addressof(request))
    fcntl.ioctl(control, _GET_SPEC, asked)
    (used,) = struct.unpack_from("=I", request.raw)
    return tuple(_text(buffer.raw[at : at + 16]) for at in range(0, used, _MEMBER_SIZE))


def _parent(control: socket.socket, name: str) -> tuple[str, ...]:
    buffer = ctypes.create_string_buffer(32)
    fcntl.ioctl(control, _GET_VLAN, struct.pack("=16sQ8x", name.encode(), ctypes.addressof(buffer)))
    parent = _text(buffer.raw[:16])
    return (parent,) if parent else ()


def _ports(control: socket.socket, name: str) -> tuple[str, ...]:
    buffer = ctypes.create_string_buffer(_LAGG_PORT.size * _MOST_LAGG_PORTS)
    asked = _LAGG.pack(name.encode(), 0, len(buffer), ctypes.addressof(buffer), 0)
    count = _LAGG.unpack(fcntl.ioctl(control, _GET_LAGG, asked))[4]
    return tuple(_text(_LAGG_PORT.unpack_from(buffer.raw, at * _LAGG_PORT.size)[1]) for at in range(count))


def _text(value: bytes) -> str:
    return value.split(b"\0")[0].decode(errors="replace")
