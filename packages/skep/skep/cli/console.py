"""A guest's serial line in a terminal, as cu(1) and ssh(1) do it: raw, `~.` ends it, the terminal always restored."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from skep.client import path
from skep.websocket import WebSocket

from .failures import UNAVAILABLE, USAGE, Failed
from .session import Session

HELP = b"\r\n  ~.  end this console\r\n  ~~  send ~\r\n  ~?  this help\r\n"
CHUNK = 4096
SHOWN = 4096
"""Bytes of the past that a console begins with."""
TAKEN_OVER = 4001


class Escapes:
    """Finds `~.` and `~?` at the beginning of a line in what is typed; everything else passes."""

    def __init__(self) -> None:
        self._line_begins = True
        self._tilde = False
        self.ended = False
        self.helped = False

    def feed(self, typed: bytes) -> bytes:
        """What to send. Sets `ended` at `~.`, `helped` at `~?`; nothing after `~.` is sent."""
        sent = bytearray()
        for byte in typed:
            self._one(byte, sent)
            if self.ended:
                break
        return bytes(sent)

    def _one(self, byte: int, sent: bytearray) -> None:
        if self._tilde:
            self._tilde = False
            if byte == ord("."):
                self.ended = True
                return
            if byte == ord("?"):
                self.helped = True
                return
            if byte != ord("~"):
                sent += b"~"
        elif self._line_begins and byte == ord("~"):
            self._tilde = True
            return
        sent.append(byte)
        self._line_begins = byte in b"\r\n"


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """The terminal in raw mode; brought back on the way out, also by SIGTERM and SIGHUP."""
    before = termios.tcgetattr(descriptor)
    handlers = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: Any) -> None:
    sys.exit(128 + number)


def run(session: Session, name: str, *, write: bool, take: bool) -> None:
    """Connect this terminal to the guest until `~.` or until either side ends. Raises Failed, Refused, Unreachable."""
    descriptor = sys.stdin.fileno()
    if not os.isatty(descriptor):
        raise Failed(f"a console needs a terminal; `skep guest log {name}` prints its history", USAGE)
    begin, _ = _history(session, name, SHOWN)
    line = WebSocket(session.target, path("guests", name, "console"), {"write": write, "take": take, "after": begin})
    click.echo(f"console of {name}; ~. at the beginning of a line ends it", err=True)
    try:
        with raw(descriptor):
            ending = _pump(line, descriptor)
    finally:
        line.close()
        click.echo(err=True)
    if ending and line.code == TAKEN_OVER:
        raise Failed(f"{line.reason}; `skep guest console {name} --read-only` watches", UNAVAILABLE)
    if ending:
        raise Failed(f"the console of {name} ended; `skep guest show {name}` shows whether it runs", UNAVAILABLE)


def _pump(line: WebSocket, descriptor: int) -> bool:
    """Bytes both ways; returns whether the guest's side ended."""
    escapes = Escapes()
    while True:
        ready, _, _ = select.select([line.fileno(), descriptor], [], [], 0 if line.waiting else None)
        if (line.waiting or line.fileno() in ready) and not _print(line):
            return True
        if descriptor in ready:
            typed = os.read(descriptor, CHUNK)
            wanted = escapes.feed(typed)
            if wanted:
                line.send(wanted)
            if escapes.helped:
                escapes.helped = False
                _write(HELP)
            if escapes.ended or not typed:
                return False


def _print(line: WebSocket) -> bool:
    """Print what came; whether there is more to come."""
    pieces = line.receive()
    for piece in pieces:
        _write(piece if isinstance(piece, bytes) else _notice(piece))
    return bool(pieces)


def _notice(text: str) -> bytes:
    notice = json.loads(text)
    if notice.get("read_only"):
        return f"[read-only: {notice.get('reason', '')}; --take takes the keyboard]\r\n".encode()
    if notice.get("event") == "writer":
        return f"\r\n[{notice['writer'] or 'nobody'} types now]\r\n".encode()
    return b""


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]


def print_history(session: Session, name: str, length: int, follow: bool) -> None:
    """The last `length` bytes of the serial history; with follow, what comes too, until interrupted."""
    begin, content = _history(session, name, length)
    _write(content)
    if not follow:
        return
    after = begin + len(content)
    line = WebSocket(session.target, path("guests", name, "console"), {"write": False, "after": after})
    try:
        while _print_bytes(line):
            pass
    finally:
        line.close()


def _history(session: Session, name: str, length: int) -> tuple[int, bytes]:
    """The last bytes of the serial history, and the offset of the first of them."""
    answer = session.client.request("GET", path("guests", name, "serial"), query={"length": length})
    return int(answer.headers["skep-offset"]), answer.content


def _print_bytes(line: WebSocket) -> bool:
    pieces = line.receive()
    for piece in pieces:
        if isinstance(piece, bytes):
            _write(piece)
    return bool(pieces)
