"""vxlan(4): its forwarding table, set by ioctl, so that frames to known MACs never flood. Pure functions.

An entry is a MAC and the peer behind which it is. The driver takes an entry for the broadcast address and never uses
it: what has no entry goes to the interface's one remote address (a peer or a multicast group).
"""

from __future__ import annotations

import ipaddress
import struct

ADD, REMOVE, FLUSH = 13, 14, 15
_FLUSH_ALL = 1
_COMMAND = struct.Struct("=IIIIHHH6sB3x28s16x")
"""struct ifvxlancmd: flags, vni, max, timeout, ports, MAC, ttl, address, interface."""
_INET, _INET6 = 2, 28


def entry(mac: str, remote: str = "") -> bytes:
    """The argument of ADD, and of REMOVE (without a remote). Port 0: that of the interface."""
    return _COMMAND.pack(0, 0, 0, 0, 0, 0, 0, bytes.fromhex(mac.replace(":", "")), 0, _address(remote))


def flush() -> bytes:
    """The argument of FLUSH that empties the table."""
    return _COMMAND.pack(_FLUSH_ALL, 0, 0, 0, 0, 0, 0, bytes(6), 0, bytes(28))


def _address(remote: str) -> bytes:
    if not remote:
        return bytes(28)
    parsed = ipaddress.ip_address(remote)
    if parsed.version == 4:
        return struct.pack("=BBH4s20x", 16, _INET, 0, parsed.packed)
    return struct.pack("=BBHI16sI", 28, _INET6, 0, 0, parsed.packed, 0)
