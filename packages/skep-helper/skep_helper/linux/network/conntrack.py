"""The flows that a network's stack tracks, by netlink: those of a port, found by the mark, and their end."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct

from . import namespaces, netlink, rules
from .netlink import Netlink, NetlinkError, attribute, attributes, nested
from .rules import Flow

GET, DELETE = (1 << 8) | 1, (1 << 8) | 2
TUPLE_ORIGINAL, MARK, ZONE, MARK_MASK = 1, 8, 18, 21
BRIDGED_ZONE = 1
"""The zone of what passes the bridge; what the stack itself sends and gets is in zone 0."""


class Conntrack:
    """The flows of the namespace of a descriptor. Close after use."""

    def __init__(self, namespace: int) -> None:
        self._netlink: Netlink = namespaces.inside(namespace, lambda: Netlink(netlink.NETFILTER))

    def __enter__(self) -> Conntrack:
        return self

    def __exit__(self, *unused: object) -> None:
        self._netlink.__exit__()

    def flows(self, mark: int, mask: int) -> list[Flow]:
        """The flows whose mark under the mask is this one; the kernel does the search."""
        wanted = _generic(socket.AF_UNSPEC) + _marked(mark, mask)
        found = [_flow(message.body) for message in self._netlink.dump(GET, wanted)]
        return [flow for flow in found if flow is not None and flow.mark & mask == mark]

    def all_flows(self) -> list[Flow]:
        found = [_flow(message.body) for message in self._netlink.dump(GET, _generic(socket.AF_UNSPEC))]
        return [flow for flow in found if flow is not None]

    def end(self, flow: Flow) -> None:
        """End one flow; nothing when it has ended by itself."""
        version = ipaddress.ip_address(flow.source).version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        try:
            self._netlink.request(DELETE, 0, _generic(family) + flow.identity)
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise

    def end_all(self, number: int) -> None:
        """End every flow that has to do with the port of this number."""
        for mark, mask in (
            (rules.outgoing_mark(number), 0xFFFF0000),
            (rules.incoming_mark(number), 0x0000FFFF),
        ):
            for flow in self.flows(mark, mask):
                self.end(flow)


def _generic(family: int) -> bytes:
    return struct.pack("=BBH", family, 0, 0)


def _marked(mark: int, mask: int) -> bytes:
    return attribute(MARK, struct.pack(">I", mark)) + attribute(MARK_MASK, struct.pack(">I", mask))


def _flow(body: bytes) -> Flow | None:
    values = attributes(body, 4)
    if TUPLE_ORIGINAL not in values:
        return None
    zone = values.get(ZONE, b"\0\0")[:2]
    original = attributes(values[TUPLE_ORIGINAL])
    addresses, protocol = attributes(original[1]), attributes(original[2])
    source, destination = (addresses[1], addresses[2]) if 1 in addresses else (addresses[3], addresses[4])
    number = protocol[1][0]
    kind, code = protocol.get(5, protocol.get(8)), protocol.get(6, protocol.get(9))
    return Flow(
        source=str(ipaddress.ip_address(source)),
        destination=str(ipaddress.ip_address(destination)),
        protocol=number,
        port=int.from_bytes(protocol[3], "big") if 3 in protocol else -1,
        icmp=(kind[0], code[0]) if kind and code else (-1, -1),
        mark=int.from_bytes(values.get(MARK, b""), "big"),
        identity=nested(TUPLE_ORIGINAL, values[TUPLE_ORIGINAL]) + attribute(ZONE, zone),
    )
