"""Descriptors that come with a request: who gets them, who closes them, and what is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator

import helper_lab
import pytest
from skep_helper import codec, wire
from skep_helper.handlers import Failure
from skep_helper.streaming import streaming
from skep_helper.vocabulary import PauseGuest, SendSnapshot, SnapshotStream
from skepd.helper_client import HelperClient
from skepd.host import HostError


def send(snapshot: str) -> SendSnapshot:
    return SendSnapshot(stream=SnapshotStream(guest="files", snapshot=snapshot))


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_the_data_comes_and_then_its_end(client: HelperClient, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    assert client.stream(send("one"), writer) == {"wrote": 5}
    os.close(writer)
    # Nobody else holds the other end any more: neither the helper nor the process that wrote.
    assert (os.read(reader, 100), os.read(reader, 100)) == (b"files", b"")


def test_a_stream_is_cancelled(client: HelperClient, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    errors: list[HostError] = []

    def work() -> None:
        try:
            client.stream(send("endless"), writer)
        except HostError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert os.read(reader, 100) == b"files"
    helper_lab.wait_for(lambda: client.cancel() or not thread.is_alive(), "the end of the stream")
    thread.join()
    assert [error.code for error in errors] == ["cancelled"]
    os.close(writer)
    assert os.read(reader, 100) == b""


def exchange(lab: helper_lab.Lab, requests: list[object], descriptors: list[int]) -> bytes:
    """What comes back on a connection until it is closed, after these requests were sent with these descriptors."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(helper_lab.PATIENCE)
        connection.connect(str(lab.socket))
        data = wire.pack({"id": 1, "requests": [codec.encode(request) for request in requests]})
        assert socket.send_fds(connection, [data], descriptors) == len(data)
        received = b""
        while more := connection.recv(65536):
            received += more
        return received


def test_descriptors_where_none_are_taken_are_refused(
    lab: helper_lab.Lab, client: HelperClient, pipe: tuple[int, int]
) -> None:
    _, writer = pipe
    assert client.perform([PauseGuest(guest="files")])
    for requests, descriptors in (
        ([PauseGuest(guest="files")], [writer]),
        ([send("one")], [writer, writer]),
        ([send("one"), send("one")], [writer]),
    ):
        assert b'"code":"rejected"' in exchange(lab, requests, descriptors)
    assert client.perform([PauseGuest(guest="files")])


def test_a_request_that_needs_a_descriptor_is_refused_without_one(client: HelperClient) -> None:
    with pytest.raises(HostError, match="needs a descriptor") as caught:
        client.perform([PauseGuest(guest="files"), send("one"), PauseGuest(guest="files")])
    assert (caught.value.code, caught.value.index) == ("rejected", 1)


def test_a_tool_is_fed_and_its_words_are_kept(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"cd")
    os.close(writer)
    seen: list[int] = []
    with streaming(["sh", "-c", "cat >&2; exit 3"], stdin=subprocess.PIPE) as tool:
        tool.feed(reader, b"ab", seen.append)
        lines = list(tool.lines(lambda: None))
    assert (lines, tool.told, tool.status) == (["abcd"], ["abcd"], 3)
    assert seen[0] == 0
    assert seen[-1] == 4


def test_a_tool_that_reads_no_more_ends_the_feeding(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"x" * 1000)
    with streaming(["sh", "-c", "echo no >&2; exit 1"], stdin=subprocess.PIPE) as tool:
        tool.feed(reader, b"", lambda count: None)
    assert (tool.told, tool.status) == (["no"], 1)


def test_a_tool_ends_with_what_ends_its_feeding(pipe: tuple[int, int]) -> None:
    reader, _ = pipe
    processes: list[int] = []

    def stop(count: int) -> None:
        raise Failure("cancelled", "cancelled")

    def work() -> None:
        with streaming(["cat"], stdin=subprocess.PIPE) as tool:
            processes.append(tool._process.pid)
            tool.feed(reader, b"", stop)

    with pytest.raises(Failure, match="cancelled"):
        work()
    assert not helper_lab.is_alive(processes[0])


def test_a_tool_that_is_not_here_is_told() -> None:
    with pytest.raises(Failure, match="is not installed"), streaming(["no-such-tool-of-skep"]):
        """It never gets here."""
