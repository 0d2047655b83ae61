"""The helper's loop, a real process with a real socket: order, long requests, cancel, restart, refusals."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helper_lab import Lab, is_alive, wait_for
from skep_helper import wire
from skep_helper.vocabulary import (
    CreateDisk,
    OpenScreen,
    PauseGuest,
    PublishImage,
    ReadStorage,
    ResetGuest,
    ResumeGuest,
)
from skepd.helper_client import HelperClient
from skepd.host import HostError


def disk(name: str, guest: str = "files") -> CreateDisk:
    return CreateDisk(guest=guest, disk=name, size=1 << 30)


def connected(lab: Lab) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    # The file is there a moment before somebody listens at it.
    wait_for(lambda: connection.connect_ex(str(lab.socket)) == 0, "the socket")
    return connection


def receive(connection: socket.socket) -> tuple[dict[str, Any], tuple[int, ...]]:
    reader = wire.Reader(wire.ANSWER_LIMIT)
    while True:
        frame = reader.read(connection)
        if frame:
            return json.loads(frame.data), frame.descriptors


def test_hello_says_who_answers_and_what_works(client: HelperClient) -> None:
    reading = client.hello()
    assert (reading.version, reading.platform, reading.boot_id) == (wire.VERSION, "test", "boot-1")
    assert [(feature.name, feature.works) for feature in reading.features] == [("kvm", False)]


def test_probing_holds_up_hello_alone(lab: Lab, client: HelperClient) -> None:
    lab.stop()
    (lab.run / "slow-probing").touch()
    lab.start()
    with ThreadPoolExecutor() as pool:
        hello = pool.submit(client.hello)
        assert client.perform([PauseGuest(guest="a")])[0]["uid"] == os.geteuid()
        assert not hello.done()
        (lab.run / "slow-probing").unlink()
        assert hello.result(60).platform == "test"


def test_requests_of_a_batch_run_in_order_and_stop_at_the_first_failure(lab: Lab, client: HelperClient) -> None:
    batch = [PauseGuest(guest="a"), disk("quick"), PauseGuest(guest="b"), ResetGuest(guest="c"), PauseGuest(guest="d")]
    with pytest.raises(HostError) as caught:
        client.perform(batch)
    assert (caught.value.code, caught.value.index, caught.value.request) == ("conflict", 3, "ResetGuest")
    assert (lab.run / "order").read_text().split() == ["a", "b"]
    assert "this always fails\\x0awith a second line" in lab.log


def test_a_batch_that_asks_for_too_much_is_refused_and_the_helper_lives(lab: Lab, client: HelperClient) -> None:
    with pytest.raises(HostError) as caught:
        client.perform([PauseGuest(guest="large")] * 20)
    assert (caught.value.code, caught.value.index) == ("rejected", 7)
    assert len(client.perform([PauseGuest(guest="large")] * 7)) == 7
    assert client.perform([PauseGuest(guest="a")])[0]["pid"] == lab.process.pid


def test_a_long_request_has_a_process_of_its_own(client: HelperClient, lab: Lab) -> None:
    short, long = client.perform([PauseGuest(guest="a"), disk("quick")])
    assert short["pid"] == lab.process.pid
    assert long["pid"] != lab.process.pid
    wait_for(lambda: not is_alive(long["pid"]), "the process ends")


def test_a_hung_long_request_never_blocks_a_short_one(lab: Lab, client: HelperClient) -> None:
    with ThreadPoolExecutor() as pool:
        hung = pool.submit(client.perform, [disk("hung")])
        pid = lab.pid_of("files.hung.pid")
        for number in range(50):
            client.perform([PauseGuest(guest=f"g{number}")])
        assert client.perform([disk("quick")])[0]["pid"] != pid
        assert not hung.done()
        assert is_alive(pid)
        client.cancel()
        with pytest.raises(HostError) as caught:
            hung.result(60)
        assert caught.value.code == "cancelled"
    wait_for(lambda: not is_alive(pid), "the hung process is killed")


def test_a_cancel_ends_the_tools_of_a_request_too(lab: Lab, client: HelperClient) -> None:
    with ThreadPoolExecutor() as pool:
        hung = pool.submit(client.perform, [disk("tool")])
        tool = lab.pid_of("files.tool.tool")
        client.cancel()
        assert isinstance(hung.exception(60), HostError)
    wait_for(lambda: not is_alive(tool), "its tool is killed")


def test_progress_is_told_and_cancel_is_heard_at_it(lab: Lab, client: HelperClient) -> None:
    told: list[tuple[int, int]] = []
    heard = threading.Event()

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        heard.set()

    with ThreadPoolExecutor() as pool:
        work = pool.submit(client.perform, [PauseGuest(guest="a"), disk("patient")], progress)
        assert heard.wait(60)
        client.cancel()
        error = work.exception(60)
    assert isinstance(error, HostError)
    assert (error.code, error.index) == ("cancelled", 1)
    assert told[0][1] == 1_000_000
    # The connection is as good as new.
    assert client.perform([PauseGuest(guest="b")])[0]["pid"] == lab.process.pid


def test_a_cancel_of_nothing_does_nothing(client: HelperClient) -> None:
    client.perform([PauseGuest(guest="a")])
    client.cancel()
    assert client.perform([disk("quick")])[0]["pid"]


def test_a_client_that_goes_away_cancels(lab: Lab) -> None:
    connection = connected(lab)
    request = {"type": "CreateDisk", "guest": "files", "disk": "hung", "size": 1 << 30}
    connection.sendall(wire.pack({"id": 1, "requests": [request]}))
    pid = lab.pid_of("files.hung.pid")
    connection.close()
    wait_for(lambda: not is_alive(pid), "its process is killed")


def test_a_process_that_dies_is_an_error_not_a_hang(client: HelperClient) -> None:
    with pytest.raises(HostError) as caught:
        client.perform([disk("dies")])
    assert caught.value.code == "failed"


def test_failures_of_long_requests_arrive(client: HelperClient) -> None:
    with pytest.raises(HostError) as caught:
        client.perform([PublishImage(image="a", version="1", format="raw", digest="0" * 64)])
    assert (caught.value.code, caught.value.message) == ("conflict", "this always fails\nwith a second line")


def test_a_defect_is_told_and_the_helper_lives(lab: Lab, client: HelperClient) -> None:
    with pytest.raises(HostError) as caught:
        client.perform([ResumeGuest(guest="a")])
    assert caught.value.code == "failed"
    assert "ZeroDivisionError" in lab.log
    client.perform([PauseGuest(guest="a")])


def test_a_request_that_this_platform_lacks_is_rejected(client: HelperClient) -> None:
    with pytest.raises(HostError) as caught:
        client.perform([ReadStorage()])
    assert caught.value.code == "rejected"


def test_descriptors_are_answered_and_belong_to_the_caller(client: HelperClient) -> None:
    answer, descriptor = client.open(OpenScreen(guest="files"))
    assert answer == {"guest": "files"}
    assert not os.get_inheritable(descriptor)
    with os.fdopen(descriptor) as stream:
        assert stream.read() == "files"
    answer, descriptor = client.open(disk("opens"))
    assert os.read(descriptor, 1) == b""
    os.close(descriptor)


def test_no_descriptor_stays_open(lab: Lab, client: HelperClient) -> None:
    client.hello()

    def count() -> int:
        return len(os.listdir(f"/proc/{lab.process.pid}/fd"))

    client.perform([disk("quick")])
    before, own = count(), set(os.listdir("/proc/self/fd"))
    for _ in range(5):
        os.close(client.open(OpenScreen(guest="files"))[1])
        client.perform([disk("opens")])
        with pytest.raises(HostError):
            client.perform([OpenScreen(guest="a")] * (wire.MOST_DESCRIPTORS + 1))
        with pytest.raises(HostError, match="at most") as caught:
            client.perform([disk("opens")] * (wire.MOST_DESCRIPTORS + 1))
        assert caught.value.code == "rejected"
        with pytest.raises(HostError, match="after it was opened"):
            client.perform([disk("opens-and-fails")])
    wait_for(lambda: count() == before, "the helper's descriptors are closed")
    assert set(os.listdir("/proc/self/fd")) <= own, "what former tests left may close meanwhile, nothing may be added"


def test_surplus_descriptors_are_closed_and_the_request_refused(lab: Lab) -> None:
    connection = connected(lab)
    reading, writing = os.pipe()
    data = wire.pack({"id": 1, "requests": [{"type": "PauseGuest", "guest": "a"}]})
    socket.send_fds(connection, [data], [writing])
    os.close(writing)
    answer, _ = receive(connection)
    assert answer["code"] == "rejected"
    # Nobody holds the other end any more, so the helper closed it.
    assert os.read(reading, 1) == b""
    os.close(reading)
    assert not (lab.run / "order").exists()
    assert "refused" in lab.log


@pytest.mark.parametrize("count", [wire.MOST_DESCRIPTORS + 1, 200])
def test_too_many_descriptors_for_a_frame_are_closed_too(lab: Lab, count: int) -> None:
    connection = connected(lab)
    reading, writing = os.pipe()
    data = wire.pack({"id": 1, "requests": [{"type": "PauseGuest", "guest": "a"}]})
    socket.send_fds(connection, [data], [writing] * count)
    os.close(writing)
    assert receive(connection)[0]["code"] == "rejected"
    assert os.read(reading, 1) == b""
    os.close(reading)
    assert not (lab.run / "order").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"not json",
        b"[]",
        b'{"id": 1, "requests": []}',
        b'{"id": 0, "requests": [{"type": "PauseGuest", "guest": "a"}]}',
        b'{"id": true, "requests": [{"type": "PauseGuest", "guest": "a"}]}',
        b'{"id": 1, "id": 1, "requests": [{"type": "PauseGuest", "guest": "a"}]}',
        b'{"id": 1, "requests": [{"type": "PauseGuest", "guest": "a"}], "more": 1}',
        b'{"id": 1, "requests": {"type": "PauseGuest", "guest": "a"}}',
        b'{"id": NaN, "requests": [{"type": "PauseGuest", "guest": "a"}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_request_is_refused(lab: Lab, data: bytes) -> None:
    connection = connected(lab)
    connection.sendall(struct.pack(">I", len(data)) + data)
    assert receive(connection)[0]["code"] == "rejected"
    assert connection.recv(1) == b""
    assert not (lab.run / "order").exists()


@pytest.mark.parametrize("length", [0, wire.REQUEST_LIMIT + 1, (1 << 32) - 1])
def test_a_frame_of_a_wrong_length_ends_the_connection(lab: Lab, length: int) -> None:
    connection = connected(lab)
    connection.sendall(struct.pack(">I", length))
    assert connection.recv(1) == b""


def test_a_second_batch_while_one_is_under_way_is_refused(lab: Lab) -> None:
    connection = connected(lab)
    hung = {"type": "CreateDisk", "guest": "files", "disk": "hung", "size": 1 << 30}
    connection.sendall(wire.pack({"id": 1, "requests": [hung]}))
    pid = lab.pid_of("files.hung.pid")
    connection.sendall(wire.pack({"id": 2, "requests": [{"type": "PauseGuest", "guest": "a"}]}))
    assert receive(connection)[0]["code"] == "rejected"
    wait_for(lambda: not is_alive(pid), "the process is ended with its connection")
    assert not (lab.run / "order").exists()


def test_a_malformed_request_in_a_batch_fails_at_its_place(lab: Lab) -> None:
    connection = connected(lab)
    requests = [{"type": "PauseGuest", "guest": "a"}, {"type": "PauseGuest", "guest": "../b"}]
    connection.sendall(wire.pack({"id": 9, "requests": requests}))
    answer, _ = receive(connection)
    assert (answer["id"], answer["failed"], answer["code"]) == (9, 1, "rejected")
    assert len(answer["answers"]) == 1


def in_child(uid: int, work: Any) -> int:
    """Run work() in a process with this uid; its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
def test_a_peer_with_another_uid_is_refused(lab: Lab) -> None:
    wait_for(lab.socket.exists, "the socket")
    os.chmod(lab.socket, 0o666)
    # As if the folder's modes did not stand in the way: the kernel's word on the peer alone decides.
    folder = os.open(lab.run, os.O_PATH)
    path = f"/proc/self/fd/{folder}/helper.sock"

    def converse() -> int:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        try:
            connection.sendall(wire.pack({"id": 1, "requests": [{"type": "PauseGuest", "guest": "a"}]}))
            return 0 if receive(connection)[0]["answers"] else 3
        except (wire.Closed, OSError):
            return 1

    os.chmod(lab.run, 0o711)
    assert in_child(65_534, converse) == 0
    assert (lab.run / "order").read_text() == "a\n"
    assert in_child(54_321, converse) == 1
    assert (lab.run / "order").read_text() == "a\n"
    wait_for(lambda: "refused-connection" in lab.log, "it is logged")
    os.close(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="looks at what root makes for another user")
def test_the_socket_is_roots_and_for_the_users_group_alone(lab: Lab) -> None:
    wait_for(lambda: lab.socket.exists() and lab.socket.stat().st_mode & 0o777 == 0o660, "the socket")
    status = lab.socket.stat()
    assert (status.st_uid, status.st_gid) == (0, 65_534)


def test_the_client_finds_a_helper_that_was_restarted(lab: Lab, client: HelperClient) -> None:
    first = client.perform([PauseGuest(guest="a")])[0]["pid"]
    lab.process.kill()
    lab.process.wait()
    lab.start()
    assert client.perform([PauseGuest(guest="b")])[0]["pid"] != first


def test_a_request_in_flight_is_lost_with_the_helper_and_its_process_ends(lab: Lab, client: HelperClient) -> None:
    with ThreadPoolExecutor() as pool:
        work = pool.submit(client.perform, [disk("patient")])
        pid = lab.pid_of("files.patient.pid")
        lab.process.kill()
        lab.process.wait()
        error = work.exception(60)
    assert isinstance(error, HostError)
    assert error.code == "lost"
    wait_for(lambda: not is_alive(pid), "the process sees that the helper is gone")


def test_sigterm_tells_long_requests_to_stop(lab: Lab, client: HelperClient) -> None:
    with ThreadPoolExecutor() as pool:
        work = pool.submit(client.perform, [disk("patient")])
        pid = lab.pid_of("files.patient.pid")
        lab.process.send_signal(signal.SIGTERM)
        error = work.exception(60)
    assert isinstance(error, HostError)
    assert error.code == "lost"
    assert lab.process.wait(60) == 0
    assert not is_alive(pid)


def test_a_helper_that_never_comes_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="start it") as caught:
        HelperClient(tmp_path / "helper.sock", patience=0).hello()
    assert caught.value.code == "lost"


def test_many_threads_at_once(client: HelperClient) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: client.perform([PauseGuest(guest=f"g{n}")])[0]["pid"], range(300)))
    assert len(set(answers)) == 1


def test_closing_the_client_ends_calls_of_other_threads(lab: Lab, client: HelperClient) -> None:
    with ThreadPoolExecutor() as pool:
        work = pool.submit(client.perform, [disk("patient")])
        pid = lab.pid_of("files.patient.pid")
        client.close()
        error = work.exception(60)
    assert isinstance(error, HostError)
    assert error.code == "lost"
    wait_for(lambda: not is_alive(pid), "nobody waits for it any more")
