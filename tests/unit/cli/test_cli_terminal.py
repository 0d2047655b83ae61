"""`skep` in a terminal: questions, progress, interruption, consoles."""

from __future__ import annotations

import dataclasses
import signal
import time

import pytest
from cli_lab import Cli, Terminal
from skep.cli.console import Escapes
from skep.cli.output import cell, duration, size


def test_a_question_is_asked_and_no_is_an_answer(skep: Cli) -> None:
    with skep.terminal("guest", "delete", "web") as terminal:
        terminal.expect("deletes guest web with its 1 disk for good. Go on? [y/N]: ")
        terminal.type("n\n")
        assert terminal.end() == 77
    assert skep.api.engine.work == {}
    with skep.terminal("guest", "reset", "web") as terminal:
        terminal.expect("Go on? [y/N]: ")
        terminal.type("y\n")
        terminal.expect("done: reset guest web")
        assert terminal.end() == 0


def test_progress_moves_and_ctrl_c_tells_how_to_follow(skep: Cli) -> None:
    engine = skep.api.engine
    engine.hold = True
    with skep.terminal("guest", "start", "web") as terminal:
        terminal.expect("50%")
        terminal.type("\x03")
        terminal.expect("start guest web goes on; `skep operation wait op1` follows it, `... cancel op1` undoes it")
        assert terminal.end() == 130
    assert engine.operation("op1").state == "running"
    with skep.terminal("operation", "wait", "op1") as terminal:
        step = dataclasses.replace(engine.operation("op1").steps[0], done=300 << 20, total=400 << 20)
        engine._set(engine.operation("op1"), steps=(step,))
        terminal.expect("75%  300 MiB of 400 MiB")
        engine.finish("op1")
        terminal.expect("done     start guest web")
        assert terminal.end() == 0


def test_a_change_that_could_cut_the_line_is_asked_about(skep: Cli) -> None:
    engine = skep.api.engine
    engine.confirming = True
    engine.apply_site("[guest.a]\n", "site.toml")
    with skep.terminal("operation", "wait", "op1") as terminal:
        terminal.expect("Keep it?")
        terminal.type("y\n")
        assert terminal.end() == 0
    engine.apply_site("[guest.b]\n", "site.toml")
    with skep.terminal("operation", "wait", "op2") as terminal:
        terminal.expect("Keep it?")
        terminal.type("n\n")
        assert terminal.end() == 70
    assert [engine.operation(identity).state for identity in ("op1", "op2")] == ["done", "cancelled"]


@pytest.fixture
def console(skep: Cli) -> Terminal:
    with skep.terminal("guest", "console", "web") as terminal:
        terminal.expect("history")
        yield terminal


def test_a_console_is_raw_and_ends_by_tilde_dot(skep: Cli, console: Terminal) -> None:
    line = skep.api.engine.lines[0]
    line.settimeout(60)
    console.type("\x03\x1a\x04a")
    assert line.recv(4, 0x100) == b"\x03\x1a\x04a"  # MSG_WAITALL: nothing of it is the terminal's
    line.sendall(b"\x1b[1mbold\r\n")
    console.expect("\x1b[1mbold")
    console.type("\r~?")
    console.expect("end this console")
    console.type("~.")
    assert console.end() == 0
    assert console.attributes == console.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_console_that_is_killed_restores_the_terminal(console: Terminal, number: signal.Signals) -> None:
    console.process.send_signal(number)
    assert console.end() == 128 + number
    assert console.attributes == console.before


def test_the_guests_end_is_the_consoles(skep: Cli, console: Terminal) -> None:
    skep.api.engine.lines[0].close()
    console.expect("the console of web ended; `skep guest show web`")
    assert console.end() == 69
    assert console.attributes == console.before


def test_a_second_console_reads_only_and_says_so(skep: Cli, console: Terminal) -> None:
    with skep.terminal("guest", "console", "web") as second:
        second.expect("[read-only: root types on it; --take takes the keyboard]")
        second.type("~.")
        assert second.end() == 0
    with skep.terminal("guest", "console", "web", "--take") as third:
        third.expect("history")
        assert "read-only" not in third.text
        third.type("x")
        skep.api.engine.lines[2].settimeout(60)
        assert skep.api.engine.lines[2].recv(1) == b"x"
        third.type("\r~.")
        assert third.end() == 0


def test_following_a_log_ends_by_ctrl_c(skep: Cli) -> None:
    with skep.terminal("guest", "log", "web", "--follow") as terminal:
        terminal.expect("history")
        skep.api.engine.lines[0].sendall(b"more")
        terminal.expect("more")
        terminal.type("\x03")
        assert terminal.end() == 130


def test_following_events_outlives_a_restart_of_the_server(skep: Cli) -> None:
    with skep.terminal("events", "--follow", "--after", "0") as terminal:
        skep.api.engine._event("first", "x")
        terminal.expect("first")
        for connection in list(skep.api.server.server_state.connections):
            connection.transport.abort()
        time.sleep(0.1)
        skep.api.engine._event("second", "x")
        terminal.expect("second")
        assert "first" not in terminal.text


@pytest.mark.parametrize(
    ("typed", "sent", "ended"),
    [
        (b"~.", b"", True),
        (b"a~.", b"a~.", False),
        (b"a\r~.b", b"a\r", True),
        (b"a\n~.", b"a\n", True),
        (b"~~.", b"~.", False),
        (b"~a", b"~a", False),
        (b"\r~\r~.", b"\r~\r", True),
        (b"~?~.", b"", True),
        (b"~", b"", False),
    ],
)
def test_escapes(typed: bytes, sent: bytes, ended: bool) -> None:
    whole, single = Escapes(), Escapes()
    assert whole.feed(typed) == sent
    assert b"".join(single.feed(bytes([byte])) for byte in typed if not single.ended) == sent
    assert whole.ended == single.ended == ended


def test_values_for_people() -> None:
    assert [size(amount) for amount in (0, 1023, 1 << 20, 1536 << 20, 150 << 30)] == [
        "0 B", "1023 B", "1 MiB", "1.5 GiB", "150 GiB",
    ]  # fmt: skip
    assert [duration(seconds) for seconds in (0.25, 59.6, 61, 7260)] == ["0.2 s", "1 min 0 s", "1 min 1 s", "2 h 1 min"]
    assert [cell(value) for value in (None, "", [], True, ["a", 1], "a\x1b[2Jb")] == [
        "-",
        "-",
        "-",
        "yes",
        "a,1",
        "a?[2Jb",
    ]
