"""A guest's screen for a VNC viewer of this machine: a listener on loopback, for one viewer of this user's."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import click

from skep.client import path
from skep.websocket import WebSocket

from .failures import UNAVAILABLE, Failed
from .session import Session

VIEWERS = ("vncviewer", "xtigervncviewer", "gvncviewer", "remote-viewer", "krdc")
CHUNK = 65_536
TAKEN_OVER = 4001


def run(session: Session, name: str, *, write: bool, take: bool, port: int, viewer: bool) -> None:
    """Serve one viewer until it leaves or the screen ends. Raises Failed, Refused, Unreachable, OSError."""
    line = WebSocket(session.target, path("guests", name, "screen"), {"write": write, "take": take})
    try:
        with socket.create_server(("127.0.0.1", port)) as listener:
            number = listener.getsockname()[1]
            started = _start_viewer(number) if viewer else None
            if started is None:
                click.echo(f"screen of {name}: vnc://127.0.0.1:{number} (vncviewer 127.0.0.1::{number}); ^C ends it")
            with _accept(listener, line) as connection:
                listener.close()  # for one
                _pump(line, connection)
    finally:
        line.close()
    if line.code not in (1000, 1005, 1006):
        more = f"vnc {name} --read-only` watches" if line.code == TAKEN_OVER else f"show {name}` shows whether it runs"
        raise Failed(f"{line.reason or 'the screen ended'}; `skep guest {more}", UNAVAILABLE)


def _start_viewer(port: int) -> subprocess.Popen[Any] | None:
    """The first viewer that is installed; None when there is none."""
    for program in filter(shutil.which, VIEWERS):
        address = f"vnc://127.0.0.1:{port}" if program in ("remote-viewer", "krdc") else f"127.0.0.1::{port}"
        return subprocess.Popen([program, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return None


def _accept(listener: socket.socket, line: WebSocket) -> socket.socket:
    """The first viewer of this user's; whoever else comes is turned away. Raises Failed when the screen ends before."""
    while True:
        sides: list[Any] = [listener, line.fileno()]
        ready, _, _ = select.select(sides, [], [])
        if listener not in ready:
            if not line.peek():
                raise Failed(f"{line.reason or 'the screen ended'} before a viewer came", UNAVAILABLE)
            continue
        connection, (_, port) = listener.accept()
        if _is_ours(port, listener.getsockname()[1]):
            return connection
        connection.close()
        click.echo("somebody else on this machine wanted to look, and was turned away", err=True)


def _is_ours(port: int, own: int) -> bool:
    """Whether the other end of a connection on loopback is of this user, where the system tells (Linux)."""
    table = Path("/proc/net/tcp")
    if not table.exists():
        return True
    wanted = (f"0100007F:{port:04X}", f"0100007F:{own:04X}")
    for row in table.read_text().splitlines()[1:]:
        fields = row.split()
        if (fields[1], fields[2]) == wanted:
            return int(fields[7]) in (os.getuid(), 0)
    return False


def _pump(line: WebSocket, viewer: socket.socket) -> None:
    """Bytes both ways until either side ends."""
    sides: list[Any] = [line.fileno(), viewer]
    while True:
        ready, _, _ = select.select(sides, [], [], 0 if line.waiting else None)
        try:
            if line.waiting or line.fileno() in ready:
                pieces = line.receive()
                for piece in pieces:
                    if isinstance(piece, bytes):
                        viewer.sendall(piece)
                if not pieces:
                    return
            if viewer in ready:
                data = viewer.recv(CHUNK)
                if not data:
                    return
                line.send(data)
        except ConnectionError:
            return  # the viewer left in a hurry
