"""Guests with real QEMU: their life, their endings, and what a killed guard costs."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests_lab import Lab, expect, lab
from skep_helper.handlers import Failure
from skep_helper.vocabulary.guest import (
    OpenConsole,
    OpenScreen,
    PauseGuest,
    Probe,
    ResetGuest,
    ResumeGuest,
    StopGuest,
)

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture(scope="module")
def site() -> Iterator[Lab]:
    with lab() as made:
        yield made


@pytest.fixture(scope="module")
def shell(site: Lab) -> Iterator[socket.socket]:
    """Guest `long`, with a screen: it lives through most tests here."""
    site.start("long", screen=True)
    with site.shell("long") as console:
        yield console


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def test_qemu_has_no_power(site: Lab, shell: socket.socket) -> None:
    status = status_of(site.reading("long").pid)
    first, last = site.policy.guest_uids
    uids = {int(uid) for uid in status["Uid"].split()}
    assert len(uids) == 1
    assert first <= uids.pop() < last
    assert status["Groups"] == ""
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    for kind in ("net", "ipc"):
        assert os.readlink(f"/proc/{site.reading('long').pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")


def test_qemu_holds_no_more_than_it_needs(site: Lab, shell: socket.socket) -> None:
    pid = site.reading("long").pid
    targets = {os.readlink(item.path) for item in os.scandir(f"/proc/{pid}/fd")}
    files = {target for target in targets if target.startswith("/")}
    home, run = f"{site.policy.pool}/guests/long", f"{site.policy.run}/guests/long"
    assert files == {
        "/dev/null", "/usr/share/OVMF/OVMF_CODE_4M.fd", f"{home}/uefi-vars.fd", f"{run}/errors",
        f"{run}/serial/line.in", f"{run}/serial/line.out",
    }  # fmt: skip


def test_variables_that_a_power_loss_cut_short_are_made_anew(site: Lab) -> None:
    """They have their name before they are on disk, so that QEMU starts meanwhile."""
    site.start("cut")
    site.do(StopGuest(guest="cut", timeout=0))
    path = site.policy.pool / "guests/cut/uefi-vars.fd"
    whole = path.read_bytes()
    assert whole[40:44] == b"_FVH"
    for length in (0, 40, len(whole) - 4096):
        os.truncate(path, length)
        site.start("cut")
        site.do(StopGuest(guest="cut", timeout=0))
        assert path.stat().st_size == len(whole)
    path.write_bytes(whole[:-1] + b"x")
    site.start("cut")
    site.do(StopGuest(guest="cut", timeout=0))
    assert path.read_bytes()[-1:] == b"x", "whole ones are kept"


def test_console_has_one_writer_and_many_readers(site: Lab, shell: socket.socket) -> None:
    with site.open(OpenConsole(guest="long", writer=False)) as reader:
        with pytest.raises(Failure, match="take it over") as refused:
            site.open(OpenConsole(guest="long"))
        assert refused.value.code == "busy"
        reader.sendall(b"echo not-typed\r")
        shell.sendall(b"echo one-two\r")
        expect(shell, b"one-two\r\n")
        assert b"not-typed" not in expect(reader, b"one-two\r\n")
    assert b"not-typed" not in site.serial("long")


def test_a_reader_that_never_reads_stalls_nobody(site: Lab, shell: socket.socket) -> None:
    with site.open(OpenConsole(guest="long", writer=False)) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        shell.sendall(b"help\r")
        expect(shell, b"Shell>")
        shell.sendall(b"echo the-end\r")
        expect(shell, b"the-end\r\n")
        expect(lazy, b"the-end\r\n")


def test_serial_probe_tells_what_it_saw(site: Lab, shell: socket.socket) -> None:
    assert site.do(Probe(kind="serial", guest="long", text="UEFI Interactive Shell")).passed
    missed = site.do(Probe(kind="serial", guest="long", text="never printed"))
    assert not missed.passed
    assert "has not appeared" in missed.detail


def test_screen_is_shared(site: Lab, shell: socket.socket) -> None:
    with site.open(OpenScreen(guest="long")) as one, site.open(OpenScreen(guest="long")) as two:
        for viewer in (one, two):
            assert viewer.recv(12) == b"RFB 003.008\n"
            viewer.sendall(b"RFB 003.008\n")
            assert viewer.recv(2) == b"\x01\x01"  # one security type: none
            viewer.sendall(b"\x01")
            assert viewer.recv(4) == b"\0\0\0\0"
            viewer.sendall(b"\0")  # "not shared": the others stay all the same
            parameters = viewer.recv(24, socket.MSG_WAITALL)
            assert b"long" in viewer.recv(int.from_bytes(parameters[20:], "big"), socket.MSG_WAITALL)
        one.sendall(b"\x03\x00" + b"\0\0\0\0" + b"\0\x10\0\x10")
        assert one.recv(1) == b"\0"


def test_pause_and_resume(site: Lab, shell: socket.socket) -> None:
    site.do(PauseGuest(guest="long"))
    assert site.reading("long").state == "paused"
    site.do(ResumeGuest(guest="long"))
    assert site.reading("long").state == "running"


def test_open_consoles_leave_no_descriptor_behind(site: Lab, shell: socket.socket) -> None:
    guard, pid = site.record("long")["guard"], site.reading("long").pid

    def count() -> list[int]:
        return [len(os.listdir(f"/proc/{item}/fd")) for item in (guard, pid, os.getpid())]

    before = count()
    for _ in range(10):
        site.open(OpenConsole(guest="long", writer=False)).close()
        site.open(OpenScreen(guest="long")).close()
    site.until(lambda: all(now <= had for now, had in zip(count(), before, strict=True)))


def described(text: bytes) -> list[bytes]:
    """The commands that the shell's `help` has listed, each a line of its own."""
    return re.findall(rb"\w+ +- [^\r\n]+[\r\n]", re.sub(rb"\x1b\[[0-9;=]*[A-Za-z]", b"", text))


def test_killed_guard_is_replaced_without_a_gap(site: Lab, shell: socket.socket) -> None:
    shell.sendall(b"help\r")
    whole = described(expect(shell, b"Help usage"))
    assert len(whole) > 20
    pid, at = site.reading("long").pid, len(site.serial("long"))
    shell.sendall(b"help\r")
    site.until(lambda: len(described(site.serial("long", at))) > 1)
    killed = site.kill_guard("long")
    assert len(described(site.serial("long", at))) < len(whole), "the guest was done before its guard was killed"
    reading = site.reading("long")
    assert (reading.state, reading.pid) == ("running", pid)
    assert site.record("long")["guard"] != killed
    site.until(lambda: b"Help usage" in site.serial("long", at))
    assert described(site.serial("long", at)) == whole


def test_reset_is_not_a_reboot_of_the_guest(site: Lab, shell: socket.socket) -> None:
    at = len(site.serial("long"))
    site.do(ResetGuest(guest="long"))
    site.until(lambda: b"Interactive Shell" in site.serial("long", at))
    assert site.reading("long").reboots == 0


def test_guest_turns_itself_off_while_no_guard_runs(site: Lab) -> None:
    site.start("alone")
    site.shell("alone").close()
    site.kill_guard("alone")
    with open(f"{site.policy.run}/guests/alone/serial/line.in", "wb", buffering=0) as line:
        line.write(b"reset -s\r")
    reading = site.until(lambda: (found := site.reading("alone")).state == "stopped" and found)
    assert (reading.ending, reading.message, reading.pid) == ("power-off", "", 0)
    assert b"Reset with" in site.serial("alone")


def test_reboot_power_off_and_start_again(site: Lab) -> None:
    first = site.start("turns")
    with site.shell("turns") as console:
        console.sendall(b"reset\r")
        site.until(lambda: site.reading("turns").reboots == 1)
        assert site.reading("turns").pid == first.pid
        expect(console, b"Press")
        console.sendall(b"\x1b")
        expect(console, b"Shell>")
        console.sendall(b"reset -s\r")
        site.until(lambda: site.reading("turns").state == "stopped")
        assert site.reading("turns").ending == "power-off"
        end = len(site.serial("turns"))
    second = site.start("turns")
    assert (second.state, second.reboots, second.ending) == ("running", 0, "")
    assert not site.do(Probe(kind="serial", guest="turns", text="Reset with")).passed
    assert len(site.serial("turns")) >= end
    site.do(StopGuest(guest="turns", timeout=0))
    ended = site.reading("turns")
    assert (ended.state, ended.ending) == ("stopped", "killed")
    assert sorted(os.listdir(f"{site.policy.run}/guests/turns")) == ["guard.lock", "guard.log", "serial", "state.json"]


def test_killed_qemu_is_recorded(site: Lab) -> None:
    pid = site.start("victim").pid
    os.kill(pid, signal.SIGKILL)
    reading = site.until(lambda: (found := site.reading("victim")).state == "crashed" and found)
    assert reading.ending == "killed"
    assert "signal 9" in reading.message


def test_qemu_killed_with_its_guard(site: Lab) -> None:
    pid = site.start("both").pid
    site.kill_guard("both")
    os.kill(pid, signal.SIGKILL)  # QEMU is dead only when it has given its memory back
    reading = site.until(lambda: (found := site.reading("both")).state != "running" and found)
    assert (reading.state, reading.ending) == ("crashed", "unknown")


def test_stop_without_force_leaves_it_running(site: Lab) -> None:
    site.start("stubborn")
    with pytest.raises(Failure, match="runs on") as refused:
        site.do(StopGuest(guest="stubborn", timeout=1, force=False))
    assert refused.value.code == "timeout"
    assert site.reading("stubborn").state == "running"
    site.do(StopGuest(guest="stubborn", timeout=0))
    site.do(StopGuest(guest="stubborn", timeout=0))


def test_what_qemu_says_reaches_the_caller(site: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skep_helper.linux.qemu.command.SANDBOX", "on,obsolete=maybe")
    with pytest.raises(Failure, match="obsolete") as refused:
        site.start("wrong")
    assert refused.value.code == "failed"
    assert site.reading("wrong").state == "crashed"


def test_a_second_start_changes_nothing(site: Lab, shell: socket.socket) -> None:
    assert site.start("long", screen=True).pid == site.reading("long").pid


def test_memory_of_the_host_is_not_given_twice(site: Lab) -> None:
    with pytest.raises(Failure, match="MiB are free") as refused:
        site.start("huge", memory=1 << 44)
    assert refused.value.code == "full"


def test_a_guest_without_a_screen_says_so(site: Lab) -> None:
    site.start("blind")
    with pytest.raises(Failure, match="no screen"):
        site.open(OpenScreen(guest="blind"))
    site.do(StopGuest(guest="blind", timeout=0))
