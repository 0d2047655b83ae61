"""`skep guest vnc`: one viewer of this user's on loopback, and what it says at the end."""

from __future__ import annotations

import re
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from cli_lab import SKEP, Cli
from skep.cli import vnc


@contextmanager
def serving(skep: Cli, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command, and the port it listens on."""
    argv = [*SKEP, "guest", "vnc", "web", "--no-viewer", *words]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=skep.environment)
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 60)[0]
        found = re.search(r"vnc://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found
        yield process, int(found[1])
    finally:
        process.kill()
        process.wait(60)


def test_one_viewer_has_the_screen_on_loopback(skep: Cli) -> None:
    with serving(skep) as (process, port), socket.create_connection(("127.0.0.1", port), 60) as viewer:
        assert viewer.recv(12, socket.MSG_WAITALL) == b"RFB 003.008\n"
        viewer.sendall(b"RFB 003.008\n")
        theirs = skep.api.engine.lines[0]
        theirs.settimeout(60)
        assert theirs.recv(12, socket.MSG_WAITALL) == b"RFB 003.008\n"
        theirs.sendall(b"x" * 300_000)
        with viewer.makefile("rb") as stream:
            assert stream.read(300_000) == b"x" * 300_000
        viewer.close()
        assert process.wait(60) == 0
        assert theirs.recv(1) == b""


def test_a_guest_that_stops_says_so_also_before_a_viewer_came(skep: Cli) -> None:
    with serving(skep) as (process, port), socket.create_connection(("127.0.0.1", port), 60) as viewer:
        viewer.recv(12, socket.MSG_WAITALL)
        skep.api.engine.stop("web")
        _, said = process.communicate(timeout=60)
        assert process.returncode == 69
        assert "`skep guest show web` shows whether it runs" in said
    del skep.api.engine.status[next(iter(skep.api.engine.status))]
    with serving(skep) as (process, _):
        skep.api.engine.stop("web")
        _, said = process.communicate(timeout=60)
        assert "before a viewer came" in said


def test_what_cannot_be_shown_is_said(skep: Cli) -> None:
    done = skep("guest", "vnc", "none", "--no-viewer")
    assert done.code == 66
    assert "there is no guest 'none'" in done.err
    done = skep("guest", "vnc", "web", "--no-viewer", "--read-only")
    assert done.code == 73
    assert "on this socket a screen is for one who types" in done.err


def test_whose_a_connection_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", own)) as viewer:
            assert vnc._is_ours(viewer.getsockname()[1], own)
            assert not vnc._is_ours(own, own)
