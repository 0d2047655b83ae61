"""The console hub over real pipes and sockets, without a guest."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from skep_helper.guard.console import LAST_READS, MOST_VIEWERS, TYPED_AHEAD, Console
from skep_helper.guard.history import History
from skep_helper.guard.loop import Loop
from skep_helper.guard.protocol import GuardError


class Line:
    """A console whose guest is the test: `say` is what it prints, `heard` what reached it."""

    def __init__(self, folder: Path) -> None:
        self.loop = Loop()
        output, self._says = os.pipe()
        self.hears, typed = os.pipe()
        for descriptor in (output, typed, self.hears):
            os.set_blocking(descriptor, False)
        self.history = History(str(folder), segment=64 * 1024, segments=4)
        self.console = Console(self.loop, self.history)
        self.console.attach(output, typed)

    def turn(self) -> None:
        """Let the loop do what is ready now."""
        self.loop.later(0.02, self.loop.stop)
        self.loop.run()

    def say(self, data: bytes) -> None:
        os.write(self._says, data)
        self.turn()

    def heard(self) -> bytes:
        try:
            return os.read(self.hears, 1 << 20)
        except BlockingIOError:
            return b""

    def open(self, *, writer: bool = False, take: bool = False, offset: int | None = None) -> socket.socket:
        theirs, self.begins = self.console.open(writer=writer, take=take, offset=offset)
        theirs.setblocking(False)
        return theirs

    def close(self) -> None:
        os.close(self._says)
        os.close(self.hears)
        self.console.close()
        self.history.close()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.close()


def test_viewers_see_what_comes_after_they_opened(line: Line) -> None:
    line.say(b"before ")
    with line.open() as one, line.open() as two:
        line.say(b"after")
        assert one.recv(100) == two.recv(100) == b"after"
    assert line.history.read(0, 100)[1] == b"before after"


def test_a_viewer_goes_on_where_it_was(line: Line) -> None:
    line.say(b"0123456789")
    for offset, begins in ((4, 4), (-3, 7), (-1000, 0), (1000, 10), (0, 0), (None, 10)):
        with line.open(offset=offset) as viewer:
            line.turn()
            assert line.begins == begins
            line.console.pump()
            kept = line.history.read(begins, 100)[1]
            assert kept == (viewer.recv(100) if kept else b"")
    with line.open(offset=8) as viewer:
        line.say(b"ab")
        assert viewer.recv(100) == b"89ab"


def test_what_is_not_kept_any_more_is_left_out(line: Line) -> None:
    for _ in range(10):
        line.say(b"x" * 60_000)
    assert line.history.start > 0
    line.open(offset=5).close()
    assert line.begins == line.history.start


def test_only_the_writer_types(line: Line) -> None:
    with line.open(writer=True) as writer, line.open() as reader:
        reader.send(b"no")
        writer.send(b"yes")
        line.turn()
        assert line.heard() == b"yes"
        with pytest.raises(GuardError) as refused:
            line.open(writer=True)
        assert refused.value.code == "busy"


def test_taking_over_closes_the_other_writer(line: Line) -> None:
    with line.open(writer=True) as old, line.open(writer=True, take=True) as new:
        assert old.recv(1) == b""
        new.send(b"mine")
        line.turn()
        assert line.heard() == b"mine"


def test_a_writer_that_leaves_makes_room(line: Line) -> None:
    line.open(writer=True).close()
    line.turn()
    with line.open(writer=True) as next_one:
        next_one.send(b"x")
        line.turn()
        assert line.heard() == b"x"


def test_a_lazy_reader_delays_nobody_and_gets_all_that_is_kept(line: Line) -> None:
    with line.open() as lazy, line.open() as eager:
        got = bytearray()
        for number in range(300):
            line.say(b"%05d " % number * 170)
            got += eager.recv(1 << 20)
        assert got == b"".join(b"%05d " % number * 170 for number in range(300))
        late = bytearray()
        while True:
            try:
                late += lazy.recv(1 << 20)
            except BlockingIOError:
                if len(late) >= line.history.end - line.history.start and late.endswith(b"00299 "):
                    break
            line.turn()
        kept = line.history.read(0, 1 << 20)[1]
        assert late.endswith(kept), "the newest bytes, without a gap"
        assert bytes(got).startswith(bytes(late[:1000])), "and first what it was owed when it stopped reading"


def test_what_is_typed_waits_for_a_guest_that_does_not_read(line: Line) -> None:
    with line.open(writer=True) as writer:
        sent = 0
        for _ in range(200):
            try:
                sent += writer.send(b"x" * 4096)
            except BlockingIOError:
                break
            line.turn()
        line.say(b"still alive")
        assert writer.recv(100) == b"still alive"
        assert len(line.console._pending) < 2 * TYPED_AHEAD
        heard = 0
        while heard < sent:
            heard += len(line.heard())
            line.turn()
        assert heard == sent


def test_the_last_words_reach_viewers(tmp_path: Path) -> None:
    line = Line(tmp_path)
    with line.open() as viewer:
        os.write(line._says, b"Power down.")
        line.close()
        assert viewer.recv(100) == b"Power down."
        assert viewer.recv(100) == b""


def test_a_full_disk_costs_history_and_nothing_else(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with line.open(writer=True) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(line.history, "append", full)
            line.say(b"lost")
        line.say(b"kept")
        writer.send(b"typed")
        line.turn()
        assert writer.recv(100) == b"kept"
        assert line.heard() == b"typed"


def test_a_guest_has_only_so_many_consoles(line: Line) -> None:
    opened = [line.open() for _ in range(MOST_VIEWERS)]
    with pytest.raises(GuardError, match="consoles of this guest are open"):
        line.open()
    opened.pop().close()
    line.turn()
    opened.append(line.open(writer=True))
    for viewer in opened:
        viewer.close()


def test_a_line_that_never_falls_silent_is_closed(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the other end of a pipe can write while it is read."""
    monkeypatch.setattr(os, "read", lambda descriptor, length: b"more")
    line.console.close()
    assert line.history.end == 4 * LAST_READS
