"""Frames, descriptors and the peer's uid on the wire."""

from __future__ import annotations

import os
import socket
import struct

import pytest
from skep_helper import wire


def test_frames_arrive_whole_whatever_the_pieces() -> None:
    left, right = socket.socketpair()
    data = wire.pack({"id": 1}) + wire.pack({"id": 2, "text": "x" * 1000})
    reader, frames = wire.Reader(4096), []
    for byte in data:
        left.send(bytes([byte]))
        frame = reader.read(right)
        if frame:
            frames.append(frame.data)
    assert [len(frame) for frame in frames] == [8, 1018]


def test_descriptors_belong_to_the_frame_they_came_with() -> None:
    left, right = socket.socketpair()
    writer, reader = wire.Writer(), wire.Reader(4096)
    sent = os.open("/dev/null", os.O_RDONLY)
    writer.add({"id": 1})
    writer.add({"id": 2}, [sent])
    writer.write(left)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(sent)
    frames = [frame for _ in range(4) if (frame := reader.read(right))]
    assert [len(frame.descriptors) for frame in frames] == [0, 1]
    assert not os.get_inheritable(frames[1].descriptors[0])
    frames[1].close()


def test_the_end_of_a_connection_is_told() -> None:
    left, right = socket.socketpair()
    left.send(wire.pack({"id": 1})[:5])
    left.close()
    reader = wire.Reader(4096)
    assert reader.read(right) is None
    assert reader.read(right) is None
    with pytest.raises(wire.Closed):
        reader.read(right)


def test_the_peers_uid() -> None:
    left, _ = socket.socketpair()
    assert wire.peer_uid(left) == os.geteuid()


def test_the_peers_uid_as_freebsd_tells_it() -> None:
    groups = struct.pack("16I", *range(16))
    # cr_ngroups is followed by two bytes of padding; cr_pid comes last.
    data = struct.pack("@IIhxx", 0, 1001, 16) + groups + struct.pack("q", 4711)
    assert wire.xucred_uid(data) == 1001
    with pytest.raises(OSError, match="version 1"):
        wire.xucred_uid(struct.pack("@I", 1) + data[4:])
