"""What is used, read on both platforms: parsers against what was recorded, and as kernels write it."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from bhyve_transcripts import blocks
from fake_system import FakeSystem
from skep_helper import usage as common
from skep_helper.codec import decode_any, encode
from skep_helper.freebsd import usage as freebsd
from skep_helper.freebsd.bhyve import process
from skep_helper.freebsd.network import system
from skep_helper.linux import usage as linux
from skep_helper.policy import Policy, parse
from skep_helper.usage import Moved
from skep_helper.vocabulary.usage import ClockReading
from test_bhyve_commands import kinfo

OBJSETS = """\
hw.ncpu=2
hw.physmem=6416084992
hw.pagesize=4096
kern.boottime={ sec = 1795221834, usec = 123456 } Sat Nov 21 10:03:54 2026
kern.cp_time=100 10 200 50 9999
kern.clockrate={ hz = 100, tick = 10000, profhz = 8126, stathz = 128 }
vm.stats.vm.v_free_count=1000
vm.stats.vm.v_inactive_count=24
kstat.zfs.misc.arcstats.size=4096000
kstat.zfs.zroot.dataset.objset-0x36.dataset_name=zroot/skep/guests/web/root
kstat.zfs.zroot.dataset.objset-0x36.nread=4096
kstat.zfs.zroot.dataset.objset-0x36.nwritten=1024
kstat.zfs.zroot.dataset.objset-0x36.reads=1
kstat.zfs.zroot.dataset.objset-0x37.dataset_name=zroot/skep/guests/web/data
kstat.zfs.zroot.dataset.objset-0x37.nread=1
kstat.zfs.zroot.dataset.objset-0x37.nwritten=2
kstat.zfs.zroot.dataset.objset-0x38.dataset_name=zroot/skep/guests/web
kstat.zfs.zroot.dataset.objset-0x38.nread=77
kstat.zfs.zroot.dataset.objset-0x39.dataset_name=zroot/skep/guests-of-others/web/root
kstat.zfs.zroot.dataset.objset-0x39.nread=88
"""
KSTAT = """\
54 1 0x01 7 2160 5214787391 73405258558961
name                            type data
dataset_name                    7    tank/skep/guests/web/root
writes                          4    3
nwritten                        4    12288
reads                           4    5
nread                           4    20480
nunlinks                        4    0
nunlinked                       4    0
"""


def timex(offset: int = 0, error: int = 0, status: int = 0) -> bytes:
    return struct.pack("=I4xqqqqi", 0, offset, 0, 0, error, status).ljust(512, b"\0")


@pytest.mark.parametrize(
    ("data", "result", "found"),
    [
        (timex(250, 40, 0x1), 0, ClockReading(synchronised="yes", offset=250, error=40)),
        (timex(-250_000, 40, 0x2001), 0, ClockReading(synchronised="yes", offset=-250, error=40)),
        (timex(0, 900), 0, ClockReading(synchronised="yes", error=900)),
        (timex(0, 16_000_000), 0, ClockReading(synchronised="yes")),
        (timex(250, 40, 0x41), 5, ClockReading(synchronised="no")),
        (timex(250, 40, 0x1), 5, ClockReading(synchronised="no")),
        (timex(), -1, ClockReading()),
    ],
)
def test_the_clock_is_as_the_kernel_says(data: bytes, result: int, found: ClockReading) -> None:
    assert common.parse_clock(data, result) == found


def test_datasets_of_a_guest_are_summed_up_and_others_left_out() -> None:
    values = freebsd.parse_values(OBJSETS)
    found = common.by_guest("zroot/skep/guests", common.parse_dataset_sysctls(values))
    assert found == {"web": Moved(4097, 1026)}
    assert common.parse_dataset_kstat(KSTAT) == ("tank/skep/guests/web/root", Moved(20480, 12288))
    assert common.parse_dataset_kstat("54 1 0x01 7 2160 1 2\nname type data\n") is None


def test_freebsd_by_one_sysctl_and_each_jail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[str]] = []

    def ask(argv: Sequence[str]) -> str:
        asked.append(argv)
        return OBJSETS

    monkeypatch.setattr(common, "clock", lambda call: ClockReading(synchronised="no"))
    monkeypatch.setattr(process, "_sysctl", lambda name: kinfo(name[-1], pages=256, runtime=1_500_000))
    for name, live, pid in (("web", "running", 7), ("off", "stopped", 0)):
        folder = tmp_path / "guests" / name
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"guest": name, "state": live, "pid": pid}))
    fake = FakeSystem()
    fake.host("igb0", received=10, sent=20)
    policy = parse({"run": str(tmp_path), "dataset": "zroot/skep", "uplinks": ["igb0", "igb9"]})
    found = freebsd.gather(policy, ask, fake)
    assert len(asked) == 1
    host = found.host
    assert (host.cpus, host.cpu, host.memory) == (2, 360 * 1_000_000 // 128, 6416084992)
    assert host.booted == 1795221834
    assert (host.free, host.arc) == (1024 * 4096, 4096000)
    (web,) = found.guests
    assert (web.name, web.cpu, web.memory) == ("web", 1_500_000, 256 * 4096)
    assert (web.disk_read, web.disk_written) == (4097, 1026)
    assert [(one.name, one.there, one.received, one.sent) for one in found.uplinks] == [
        ("igb0", True, 10, 20),
        ("igb9", False, 0, 0),
    ]
    assert decode_any(encode(found)) == found


def test_what_was_recorded_is_understood() -> None:
    text = next(block.stdout for block in blocks("01-host.txt") if "kern.cp_time " in block.command)
    values = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    found = freebsd.host({**values, "kern.clockrate": "{ hz = 100, tick = 10000, profhz = 8126, stathz = 127 }"})
    assert found.cpu == (4484 + 3467 + 459) * 1_000_000 // 127


def test_a_process_of_another_layout_is_no_reading() -> None:
    assert process.parse_used(b"", 7, 4096) is None
    assert process.parse_used(kinfo(7, pages=3, runtime=5), 7, 4096) == process.Used(5, 12288)
    with pytest.raises(process.GuardError):
        process.parse_used(kinfo(7)[:1000], 7, 4096)


def test_an_interfaces_counters() -> None:
    data = bytearray(152)
    data[0], data[4] = 6, 2
    struct.pack_into("=QQ", data, 24, 11, 0)
    struct.pack_into("=QQ", data, 64, 1000, 2000)
    assert system.parse_counters(bytes(data)[:80]) == system.Counters(1000, 2000, 2)


def test_linux_from_proc_and_sys(tmp_path: Path) -> None:
    write(
        tmp_path / "proc/stat",
        "cpu  100 5 50 1000 60 1 2 3 40 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 1 1 1 1\nintr 5\nbtime 99\n",
    )
    write(tmp_path / "proc/meminfo", "MemTotal:  2000 kB\nMemFree: 100 kB\nMemAvailable: 900 kB\nHugePages_Total: 0\n")
    write(tmp_path / "proc/spl/kstat/zfs/arcstats", "13 1 0x01\nname type data\nhits 4 5\nsize 4 777\nc_max 4 9\n")
    found = linux.host(tmp_path)
    assert found.booted == 99
    assert (found.cpus, found.memory, found.free, found.arc) == (2, 2000 << 10, 900 << 10, 777)
    assert linux.parse_cpu((tmp_path / "proc/stat").read_text()) == (2, 161)
    assert linux.host(tmp_path / "nothing").memory == 0


def test_linux_guests_by_their_vmms(tmp_path: Path) -> None:
    state = tmp_path / "run/guests/web/state.json"
    write(state, json.dumps({"guest": "web", "state": "paused", "pid": 42}))
    write(tmp_path / "proc/42/stat", "42 (qemu (x) 1) S " + " ".join(["0"] * 10) + " 300 100 0 0 20\n")
    write(tmp_path / "proc/42/statm", "5000 250 10 1 0 20 0\n")
    write(tmp_path / "proc/42/io", "rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n")
    write(tmp_path / "proc/spl/kstat/zfs/tank/objset-0x36", KSTAT)
    (web,) = linux.guests(parse({"run": str(tmp_path / "run")}), tmp_path)
    assert (web.name, web.disk_read, web.disk_written) == ("web", 4096, 8192)
    assert (web.cpu > 0, web.memory > 0) == (True, True)
    (web,) = linux.guests(parse({"run": str(tmp_path / "run"), "dataset": "tank/skep"}), tmp_path)
    assert (web.disk_read, web.disk_written) == (20480, 12288)
    (tmp_path / "proc/42/io").unlink()
    (tmp_path / "proc/42/stat").unlink()
    assert [one.cpu for one in linux.guests(parse({"run": str(tmp_path / "run")}), tmp_path)] == [0]


def test_linux_uplinks(tmp_path: Path) -> None:
    nic = tmp_path / "sys/class/net/eth0"
    write(nic / "carrier", "1\n")
    write(nic / "statistics/rx_bytes", "10\n")
    write(nic / "statistics/tx_bytes", "20\n")
    found = list(linux.uplinks(parse({"uplinks": ["eth0", "eth9"]}), tmp_path))
    assert [(one.name, one.there, one.carrier, one.received, one.sent) for one in found] == [
        ("eth0", True, "up", 10, 20),
        ("eth9", False, "", 0, 0),
    ]


def test_this_host_answers() -> None:
    import skep_helper.platforms as platforms
    from skep_helper.handlers import Context
    from skep_helper.vocabulary import ReadUsage

    read = platforms.load(Policy()).handlers[ReadUsage]
    found = read(Context(Policy(), 0), ReadUsage())
    assert found.host.memory > found.host.free > 0
    assert found.host.cpu > 0
    assert decode_any(encode(found)) == found


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
