"""Our own WebSocket frames against wsproto, and against clients that break the protocol."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skepd.gateway.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Messages,
    Violation,
    close_code,
    close_frame,
    frame,
    header,
    unmask,
)
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Pong, TextMessage

MASK = b"\x37\xfa\x21\x3d"


def masked(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    head = bytearray(header(opcode, len(payload)))
    head[0] &= 0xFF if final else 0x7F
    head[1] |= 0x80
    return bytes(head) + MASK + unmask(payload, MASK)


@given(payload=st.binary(max_size=300), mask=st.binary(min_size=4, max_size=4))
def test_unmasking_is_the_definition(payload: bytes, mask: bytes) -> None:
    assert unmask(payload, mask) == bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 300_000])
def test_what_we_send_is_what_wsproto_reads(size: int) -> None:
    payload = random.Random(size).randbytes(size)
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(frame(BINARY, payload) + frame(TEXT, b"text") + close_frame(4001, "taken over"))
    events = list(client.events())
    assert b"".join(bytes(event.data) for event in events if isinstance(event, BytesMessage)) == payload
    assert [event.data for event in events if isinstance(event, TextMessage)] == ["text"]
    closing = events[-1]
    assert isinstance(closing, CloseConnection)
    assert (closing.code, closing.reason) == (4001, "taken over")


@settings(deadline=None)
@given(sizes=st.lists(st.sampled_from([0, 1, 125, 126, 1000, 65_535, 65_536]), max_size=6), data=st.data())
def test_what_wsproto_sends_is_what_we_read_however_it_is_cut(sizes: list[int], data: st.DataObject) -> None:
    client = Connection(ConnectionType.CLIENT)
    sent = [bytes([at]) * size for at, size in enumerate(sizes)]
    stream = b"".join(client.send(BytesMessage(data=payload)) for payload in sent) + client.send(Pong())
    messages, found, at = Messages(1 << 20), [], 0
    while at < len(stream):
        step = data.draw(st.sampled_from([1, 2, 3, 7, 1000, 70_000]) if len(stream) < 3000 else st.just(70_001))
        found += messages.feed(stream[at : at + step])
        at += step
    assert found == [*((BINARY, payload) for payload in sent), (PONG, b"")]


def test_pieces_with_a_ping_between_them() -> None:
    stream = masked(TEXT, "ü".encode()[:1], final=False) + masked(PING, b"?") + masked(CONTINUATION, "ü".encode()[1:])
    messages = Messages(100)
    found = [message for byte in stream for message in messages.feed(bytes([byte]))]
    assert found == [(PING, b"?"), (TEXT, "ü".encode())]


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (frame(BINARY, b"x"), 1002),
        (masked(CONTINUATION, b"x"), 1002),
        (masked(BINARY, b"x", final=False) + masked(BINARY, b"y"), 1002),
        (masked(PING, b"x", final=False), 1002),
        (masked(0x3, b""), 1002),
        (bytes([0xC2, 0x80]), 1002),
        (bytes([0x89, 0xFE, 0, 200]), 1002),
        (masked(TEXT, b"\xff"), 1007),
        (bytes([0x82, 0xFF]) + (1 << 40).to_bytes(8, "big"), 1009),
        (masked(BINARY, b"x" * 60, final=False) + masked(CONTINUATION, b"x" * 60), 1009),
        (masked(BINARY, b"", final=False) + masked(CONTINUATION, b"", final=False) * 5000, 1009),
    ],
)
def test_who_breaks_the_protocol_is_told_how(stream: bytes, code: int) -> None:
    with pytest.raises(Violation) as caught:
        Messages(100).feed(stream)
    assert caught.value.code == code


def test_codes_to_close_with() -> None:
    assert close_code(b"") == 1000
    assert close_code(b"\x0f\xa1bye") == 4001
    for payload in (b"\x03", b"\x03\xed", b"\x00\x00", b"\xff\xff", b"\x03\xe8\xff"):
        with pytest.raises(Violation):
            close_code(payload)
    assert len(close_frame(1011, "ü" * 200)) <= 2 + 125
    Messages(100).feed(masked(CLOSE, b"\x03\xe8"))
