"""Probe: one try of a health gate, with a detail that says what was seen."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
import time
from collections.abc import Callable

from ..handlers import Context
from ..policy import Policy
from ..vocabulary.fields import Rejected
from ..vocabulary.guest import Probe, ProbeReading
from . import agent, client, state
from .history import SEGMENT, SEGMENTS, History
from .protocol import GuardError
from .requests import agent_path

Within = Callable[[Policy, str, Callable[[], ProbeReading]], ProbeReading]
"""Does something in the stack of a network; raises Failure(missing) when there is no such network."""


def probe(context: Context, request: Probe, within: Within) -> ProbeReading:
    """Raises Failure(missing) when the guest or the network is not there, Rejected when a field is missing."""
    record = client.read(context.policy, request.guest)
    if record is None or record["state"] not in state.LIVE:
        return ProbeReading(passed=False, detail=f"guest {request.guest} does not run")
    if request.kind == "serial":
        return _serial(request, record["history"], record["serial_start"])
    if request.kind == "agent":
        return _agent(context.policy, request)
    if request.address is None or request.network is None or (request.kind == "tcp" and not request.port):
        raise Rejected(
            f"Probe: kind {request.kind} needs an address, a network" + " and a port" * (request.kind == "tcp")
        )
    network = str(request.network)
    return within(context.policy, network, lambda: (_tcp if request.kind == "tcp" else _ping)(request))


def _serial(request: Probe, folder: str, start: int) -> ProbeReading:
    if not request.text:
        raise Rejected("Probe: kind serial needs a text")
    _, data = History(folder).read(start, SEGMENT * SEGMENTS)
    if request.text.encode() in data:
        return ProbeReading(passed=True, detail=f"{request.text!r} has appeared on the serial line"[:256])
    detail = f"{request.text!r} has not appeared in {len(data)} bytes of serial output since the start"
    return ProbeReading(passed=False, detail=detail[-256:])


def _tcp(request: Probe) -> ProbeReading:
    where = f"{request.address} port {request.port}"
    try:
        with socket.create_connection((str(request.address), request.port), timeout=max(request.timeout, 1)):
            return ProbeReading(passed=True, detail=f"{where} accepts connections")
    except TimeoutError:
        return ProbeReading(passed=False, detail=f"{where}: no answer within {request.timeout} s")
    except OSError as error:
        return ProbeReading(passed=False, detail=f"{where}: {error.strerror}")


def _ping(request: Probe) -> ProbeReading:
    """An echo request of our own; whose number tells its answer from others'."""
    address = ipaddress.ip_address(str(request.address))
    number = int.from_bytes(os.urandom(2), "big")
    six = address.version == 6
    try:
        with _echo_socket(six) as connection:
            sent = time.monotonic()
            connection.sendto(echo_request(number, six), (str(address), 0))
            deadline = sent + max(request.timeout, 1)
            while (left := deadline - time.monotonic()) > 0:
                connection.settimeout(left)
                data, (source, *_) = connection.recvfrom(2048)
                if source == str(address) and is_echo_reply(data, number, six):
                    took = (time.monotonic() - sent) * 1000
                    return ProbeReading(passed=True, detail=f"{address} answered in {took:.1f} ms")
    except TimeoutError:
        return ProbeReading(passed=False, detail=f"{address}: no answer within {request.timeout} s")
    except OSError as error:
        return ProbeReading(passed=False, detail=f"{address}: {error.strerror}")
    return ProbeReading(passed=False, detail=f"{address}: no answer within {request.timeout} s")


def _echo_socket(six: bool) -> socket.socket:
    if six:
        return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def echo_request(number: int, six: bool) -> bytes:
    """An ICMP echo request with this identifier; the kernel fills in ICMPv6's checksum."""
    kind = 128 if six else 8
    body = struct.pack("!BBHHH", kind, 0, 0, number, 1) + b"skep"
    if six:
        return body
    total = sum(struct.unpack("!6H", body))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return body[:2] + struct.pack("!H", checksum) + body[4:]


def is_echo_reply(data: bytes, number: int, six: bool) -> bool:
    """data: as a raw socket gives it, with the header for IPv4 and without for IPv6."""
    start = 0 if six else (data[0] & 15) * 4
    if len(data) < start + 8:
        return False
    kind, _, _, identifier, _ = struct.unpack_from("!BBHHH", data, start)
    return bool(kind == (129 if six else 0) and identifier == number)


def _agent(policy: Policy, request: Probe) -> ProbeReading:
    path = agent_path(policy, request.guest)
    if not os.path.exists(path):
        return ProbeReading(passed=False, detail="the guest was started without an agent's port")
    deadline = time.monotonic() + max(request.timeout, 1)
    number, message = agent.sync_request()
    received = bytearray()
    # GuardError: a guest that writes without an end; OSError: QEMU is just ending.
    with contextlib.suppress(GuardError, OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(max(request.timeout, 1))
        connection.connect(path)
        connection.sendall(message)
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            data = connection.recv(65_536)
            if not data:
                break
            received += data
            while (answer := agent.take_line(received)) is not None:
                if isinstance(answer, dict) and answer.get("return") == number:
                    return ProbeReading(passed=True, detail="the guest agent answers")
    return ProbeReading(passed=False, detail=f"the guest agent did not answer within {request.timeout} s")
