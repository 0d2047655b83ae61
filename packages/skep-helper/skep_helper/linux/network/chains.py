"""Which nft chains stand in a stack, read by netlink without a process."""

from __future__ import annotations

import struct

from . import namespaces, netlink
from .netlink import Netlink, attributes

GET_CHAIN = (10 << 8) | 4
_FAMILIES = {1: "inet", 2: "ip", 5: "netdev", 7: "bridge", 10: "ip6"}
TABLE, NAME, USE = 1, 3, 6


def standing(namespace: int | None = None) -> dict[tuple[str, str, str], int]:
    """(family, table, chain) of every chain that is used or holds a rule, in the namespace of the descriptor
    (None: in the calling thread's stack), with the number of its rules and of what leads to it."""

    def work() -> Netlink:
        return Netlink(netlink.NETFILTER)

    found = {}
    with work() if namespace is None else namespaces.inside(namespace, work) as socket:
        for message in socket.dump(GET_CHAIN, struct.pack("=BBH", 0, 0, 0)):
            values = attributes(message.body, 4)
            use = int.from_bytes(values.get(USE, b""), "big")
            if use:
                found[_FAMILIES.get(message.body[0], ""), _text(values[TABLE]), _text(values[NAME])] = use
    return found


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
