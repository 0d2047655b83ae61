"""Command lines and what is read of the host, against the recordings."""

from __future__ import annotations

import errno
import os
import pty
import re
import signal
import struct
import termios
from pathlib import Path

import pytest
from bhyve_transcripts import blocks, commands
from skep_helper.freebsd import guests
from skep_helper.freebsd.bhyve import host, jail, line, process
from skep_helper.freebsd.bhyve.host import find_user
from skep_helper.freebsd.bhyve.jail import Jail
from skep_helper.guard import readings
from skep_helper.guard.protocol import GuardError
from skep_helper.handlers import Context
from skep_helper.policy import Policy
from skep_helper.vocabulary.guest import ReadGuests

G1 = Jail(name="g1", vm="g1", root="/j/g1", shared="/var/run/skep/bhyve/1", ruleset=92, devices=("tap30", "nmdmg2*"))


@pytest.fixture(scope="module")
def seen() -> set[str]:
    return commands("27-bhyve-vnet.txt") | {
        part for block in blocks("10-bhyve-exit.txt") + blocks("11-bhyvectl.txt") for part in [block.command]
    }


def test_a_jail_is_made_as_it_was_tried(seen: set[str]) -> None:
    recorded = next(text for text in seen if "mount.devfs" in text and "enforce_statfs" in text)
    assert sorted(jail.create(G1)) == sorted(recorded.split())
    assert jail.create(G1)[:2] == recorded.split()[:2]
    assert " ".join(jail.remove(G1)) in seen
    assert "umount /j/g1/dev" in seen
    assert jail.unmounts(G1, ["/", "/j/g1", "/j/g10", "/j/g1/dev", "/j/g1/fd"]) == [
        ["umount", "-f", "/j/g1/dev"], ["umount", "-f", "/j/g1/fd"], ["umount", "-f", "/j/g1"],
    ]  # fmt: skip


def test_a_jail_sees_its_own_devices_only() -> None:
    assert [" ".join(command) for command in jail.rules(G1)] == [
        "devfs rule -s 92 delset", "devfs rule -s 92 add hide",
        *(f"devfs rule -s 92 add path {name} unhide" for name in (
            "null", "zero", "random", "urandom", "vmm", "vmm.io", "vmmctl", "vmm/g1", "vmm.io/g1.*", "tap30", "nmdmg2*",
        )),
    ]  # fmt: skip


def test_mounts() -> None:
    assert [" ".join(command) for command in jail.mounts(G1)] == [
        "mount -t nullfs -o ro /var/run/skep/bhyve/1 /j/g1", "mount -t fdescfs fdescfs /j/g1/fd",
        "mount -t tmpfs -o size=4m tmpfs /j/g1/tmp",
    ]  # fmt: skip
    with_agent = Jail(**{**G1.to_json(), "agent": "/var/run/skep/guests/g1/agent"})
    assert jail.mounts(with_agent)[-1] == ["mount", "-t", "nullfs", "/var/run/skep/guests/g1/agent", "/j/g1/run"]
    assert jail.from_json(with_agent.to_json()) == with_agent


def test_mount_points() -> None:
    text = "/dev/ufs/root\t/\tufs\trw\t1 1\ndevfs\t/dev\tdevfs\trw\t0 0\n/a\t/mnt/a\\040b\tnullfs\tro\t0 0\n"
    assert jail.mount_points(text) == ["/", "/dev", "/mnt/a b"]


def test_vm_commands_as_they_were_tried(seen: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from skep_helper.freebsd.bhyve import host

    asked: list[str] = []
    monkeypatch.setattr(host, "run", lambda argv: asked.append(" ".join(argv)) or "")
    real = host.Host()
    real.destroy_vm("t1")
    real.force("t1", "poweroff")
    real.force("t1", "reset")
    assert set(asked) <= seen


@pytest.mark.parametrize(
    ("words", "harmless"),
    [
        ("vm_open: nosuch could not be opened: No such file or directory", True),
        ("errno = 37", True),
        ("Usage: bhyvectl --vm=<vmname>", False),
    ],
)
def test_what_bhyvectl_says_of_a_vm_that_ended(words: str, harmless: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from skep_helper.freebsd.bhyve import host

    assert words in {line for block in blocks("11-bhyvectl.txt") for line in block.output.splitlines()}

    def run(argv: list[str]) -> str:
        raise GuardError("failed", f"bhyvectl: {words} (exit 1)")

    monkeypatch.setattr(host, "run", run)
    if harmless:
        host.Host().force("t1", "poweroff")
    else:
        with pytest.raises(GuardError):
            host.Host().force("t1", "poweroff")


def test_who_runs_a_vm() -> None:
    listing = " 4010 bhyve: t1 (bhyve)\n 4011 bhyve: skep.a\n  500 grep bhyve: t2 (bhyve)x\n  501 sh -c bhyve: t3\n"
    assert find_user(listing, "t1") == 4010
    assert find_user(listing, "skep.a") == 4011
    assert [find_user(listing, name) for name in ("t2", "t3", "t", "skep.b")] == [0, 0, 0, 0]
    recorded = next(
        block.stdout for block in blocks("11-bhyvectl.txt") if block.command.startswith("ps -axww -o pid,command")
    )
    assert "4010 bhyve: t1 (bhyve" in recorded


def kinfo(pid: int, **fields: int) -> bytes:
    """struct kinfo_proc as FreeBSD 13.2's headers lay it out (offsets from its compiler)."""
    data = bytearray(1088)
    struct.pack_into("=i", data, 0, 1088)
    struct.pack_into("=i", data, 72, pid)
    struct.pack_into("=qq", data, 336, fields.get("seconds", 1795221834), 42)
    struct.pack_into("=I", data, 136, fields.get("ignored", 0))
    struct.pack_into("=q", data, 264, fields.get("pages", 0))
    struct.pack_into("=Q", data, 328, fields.get("runtime", 0))
    data[388] = fields.get("state", 3)
    return bytes(data)


def test_what_the_kernel_says_of_a_process() -> None:
    assert process.parse(kinfo(7), 7) == process.Status("1795221834.000042", False, False)
    assert process.parse(kinfo(7, ignored=1 << 14, state=4), 7) == process.Status("1795221834.000042", True, True)
    assert process.parse(kinfo(7, ignored=1 << 12), 7) == process.Status("1795221834.000042", False, False)
    assert process.parse(kinfo(7, state=5), 7) is None, "a zombie runs no more"
    assert process.parse(b"", 7) is None
    for data, pid in ((kinfo(7), 8), (kinfo(7)[:1000], 7), (bytes(1088), 0)):
        with pytest.raises(GuardError):
            process.parse(data, pid)


@pytest.mark.parametrize(("number", "gone"), [(errno.ESRCH, True), (errno.ENOMEM, False)])
def test_only_one_error_of_the_kernel_means_that_a_process_is_gone(
    number: int, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: object) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(process, "_sysctl", fail)
    if gone:
        assert process.status(7) is None
    else:
        with pytest.raises(GuardError, match="does not tell of process 7: Cannot allocate memory"):
            process.status(7)
    assert process.title(7) == ""


@pytest.mark.parametrize(
    ("stopped", "state", "word"), [(True, "running", "kill -CONT 7"), (False, "running", ""), (True, "stopped", "")]
)
def test_a_guard_that_was_stopped_is_told(
    stopped: bool, state: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {
        "guest": "a", "state": state, "digest": "ab" * 8, "pid": 9, "started": 1.0, "ending": "", "ended": 0.0,
        "reboots": 0, "media_detached": False, "accelerator": "vmm", "message": "", "guard": 7,
    }  # fmt: skip
    monkeypatch.setattr(readings, "readings", lambda policy: [record])
    monkeypatch.setattr(process, "status", lambda pid: process.Status("1", stopped, False) if pid == 7 else None)
    (found,) = guests.read(Context(policy=Policy(), peer_uid=0), ReadGuests())
    assert (word in found.message, bool(found.message)) == (True, bool(word))


def test_what_is_done_by_a_process_of_its_own() -> None:
    host.inside(0, lambda: None)

    def fail() -> None:
        raise ValueError("no such tap")

    with pytest.raises(GuardError, match=r"^no such tap$"):
        host.inside(0, fail)


def test_a_process_of_its_own_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    fork, forked = os.fork, []

    def remembered() -> int:
        forked.append(fork())
        return forked[-1]

    monkeypatch.setattr(os, "fork", remembered)
    monkeypatch.setattr(host, "PATIENCE", 0.2)
    with pytest.raises(GuardError, match=r"^not done within"):
        host.inside(0, signal.pause)
    for child in forked:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)
    assert forked


def test_the_line_is_raw() -> None:
    theirs, ours = pty.openpty()
    try:
        path = os.ttyname(ours)
        before = termios.tcgetattr(ours)
        assert before[3] & termios.ECHO, "else this shows nothing"
        one, two = line.open_line(path)
        assert one != two
        found = termios.tcgetattr(one)
        assert found[3] == 0
        assert found[1] == 0
        assert found[2] & termios.CLOCAL
        os.write(theirs, b"guest\r\n\x03")
        assert os.read(one, 100) == b"guest\r\n\x03"
        assert not os.get_blocking(one)
        with pytest.raises(BlockingIOError):
            os.read(two, 1)
        os.close(one)
        os.close(two)
    finally:
        os.close(theirs)
        os.close(ours)


def test_line_names_are_such_that_nmdm_takes() -> None:
    name = line.device("web-01", "A")
    assert re.fullmatch(r"/dev/nmdm[a-z0-9.-]+A", name)
    assert name[:-1] == line.device("web-01", "B")[:-1]


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/disk").write_text("x")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/also").symlink_to("disk")
    os.close(process.open_file(str(tmp_path / "real/disk"), os.O_RDWR))
    for bad in ("link/disk", "real/also", "real/none"):
        with pytest.raises(OSError, match=bad.split("/")[-1]):
            process.open_file(str(tmp_path / bad), os.O_RDONLY)
