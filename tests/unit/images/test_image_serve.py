"""The web server: ranges right to the byte, and nothing outside of the folder."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from skepd.images.serve import ImageServer

BODY = bytes(range(256)) * 4000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ImageServer]:
    web = tmp_path / "web"
    (web / "a" / "1").mkdir(parents=True)
    (web / "a" / "1" / "file").write_bytes(BODY)
    (web / "a" / "1" / "plus+file").write_bytes(b"plus")
    (web / "empty").write_bytes(b"")
    (web / ".hidden").write_bytes(b"hidden")
    (tmp_path / "secret").write_bytes(b"secret")
    (web / "link").symlink_to(tmp_path / "secret")
    (web / "inner").symlink_to(web / "empty")
    (web / "up").symlink_to(tmp_path)
    os.mkfifo(web / "fifo")
    found = ImageServer(web)
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join(timeout=10)


def ask(server: ImageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    link = http.client.HTTPConnection(server.server_name, server.server_port, timeout=20)
    try:
        link.putrequest(method, path, skip_accept_encoding=True)
        for key, value in headers.items():
            link.putheader(key.replace("_", "-"), value)
        link.endheaders()
        answer = link.getresponse()
        return answer.status, dict(answer.headers), answer.read()
    finally:
        link.close()


def test_a_whole_file(server: ImageServer) -> None:
    status, headers, body = ask(server, "/a/1/file?x=1")
    assert (status, body) == (200, BODY)
    assert headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("0-0", 0, 0),
        ("5-9", 5, 9),
        ("1000000-", 1000000, 1023999),
        ("-10", 1023990, 1023999),
        ("0-9999999", 0, 1023999),
    ],
)
def test_a_range(server: ImageServer, wanted: str, first: int, last: int) -> None:
    status, headers, body = ask(server, "/a/1/file", Range=f"bytes={wanted}")
    assert (status, body) == (206, BODY[first : last + 1])
    assert headers["Content-Range"] == f"bytes {first}-{last}/{len(BODY)}"


@pytest.mark.parametrize("wanted", ["bytes=-", "bytes=9-5", "bytes=0-1,3-4", "lines=0-1", "bytes=x-1", "bytes=0-1 x"])
def test_what_is_not_one_range_gets_the_whole(server: ImageServer, wanted: str) -> None:
    status, _, body = ask(server, "/a/1/file", Range=wanted)
    assert (status, body) == (200, BODY)


@pytest.mark.parametrize(("path", "wanted"), [("/a/1/file", "1024000-"), ("/a/1/file", "-0"), ("/empty", "0-0")])
def test_a_range_behind_the_end(server: ImageServer, path: str, wanted: str) -> None:
    status, headers, body = ask(server, path, Range=f"bytes={wanted}")
    assert (status, body) == (416, b"")
    assert headers["Content-Range"].startswith("bytes */")


def test_if_range(server: ImageServer) -> None:
    _, headers, _ = ask(server, "/a/1/file", "HEAD")
    for condition in (headers["ETag"], headers["Last-Modified"]):
        assert ask(server, "/a/1/file", Range="bytes=0-3", If_Range=condition)[0] == 206
    assert ask(server, "/a/1/file", Range="bytes=0-3", If_Range='"other"')[0] == 200


def test_head_has_the_headers_alone(server: ImageServer) -> None:
    status, headers, body = ask(server, "/a/1/file", "HEAD", Range="bytes=0-3")
    assert (status, headers["Content-Length"], body) == (206, "4", b"")


def test_escapes_are_read(server: ImageServer) -> None:
    assert ask(server, "/a/1/plus%2Bfile")[2] == b"plus"
    assert ask(server, "/a/1/plus+file")[2] == b"plus"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/a",
        "/a/",
        "/a/1",
        "/a//1/file",
        "/absent",
        "/.hidden",
        "/%2ehidden",
        "/../secret",
        "/a/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/a/%2e%2e/%2e%2e/secret",
        "/link",
        "/inner",
        "/up/secret",
        "/fifo",
        "/a/1/file/x",
        "/a%00",
        "/%ff",
        "//etc/passwd",
        "/" + "x" * 5000,
        "a/1/file",
        "x/a/1/file",
        "http://other/a/1/file",
    ],
)
def test_nothing_else_is_served(server: ImageServer, path: str) -> None:
    status, _, body = ask(server, path)
    assert (status, body) == (404, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"])
def test_no_other_method(server: ImageServer, method: str) -> None:
    assert ask(server, "/a/1/file", method)[0] == 501


def test_a_connection_is_kept(server: ImageServer) -> None:
    link = http.client.HTTPConnection(server.server_name, server.server_port, timeout=20)
    link.connect()
    kept = link.sock
    for path, status in [("/a/1/file", 200), ("/absent", 404), ("/a/1/file", 200)]:
        link.request("GET", path)
        answer = link.getresponse()
        answer.read()
        assert answer.status == status
        assert link.sock is kept
    link.close()


def test_a_client_that_goes_away_is_forgotten(server: ImageServer, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection((server.server_name, server.server_port), timeout=20) as link:
        link.sendall(b"GET /a/1/file HTTP/1.1\r\n\r\n")
        link.recv(10)
    assert ask(server, "/a/1/file")[0] == 200
    assert capfd.readouterr().err == ""


def test_the_command_serves_until_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    command = [sys.executable, "-m", "skepd.images.serve", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rsplit(":", 1)[1])
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            link.request("GET", "/file")
            assert link.getresponse().read() == b"hello"
            link.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "skepd.images.serve", str(tmp_path / "absent")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "No such file" in done.stderr
