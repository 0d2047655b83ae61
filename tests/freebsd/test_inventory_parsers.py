"""What a host is made of: parsers against what was recorded, SMART and pools as their tools write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from bhyve_transcripts import blocks
from skep_helper import inventory as common
from skep_helper.codec import decode_any, encode
from skep_helper.freebsd import inventory as freebsd
from skep_helper.linux import inventory as linux
from skep_helper.vocabulary import DriveReading, InventoryReading

SATA = {
    "smartctl": {"exit_status": 0},
    "device": {"name": "/dev/ada0", "type": "sat"},
    "model_name": "Maker SSD 512",
    "serial_number": "S-1",
    "smart_status": {"passed": True},
    "ata_smart_attributes": {"table": [{"id": 5, "raw": {"value": 3}}, {"id": 9, "raw": {"value": 7}}]},
    "power_on_time": {"hours": 1234},
    "temperature": {"current": 31},
}
NVME = {
    "device": {"name": "/dev/nvme0", "type": "nvme"},
    "serial_number": "N-1",
    "smart_status": {"passed": False},
    "nvme_smart_health_information_log": {"percentage_used": 97, "media_errors": 2},
}
ASLEEP = {
    "smartctl": {"messages": [{"string": "Device is in STANDBY mode, exit(2)", "severity": "information"}]},
    "device": {"name": "/dev/ada1", "type": "sat"},
}
DEGRADED = """\
  pool: tank
 state: DEGRADED
status: One or more devices could not be opened.  Sufficient replicas exist for
\tthe pool to continue functioning in a degraded state.
action: Attach the missing device and online it using 'zpool online'.
  scan: scrub repaired 0B in 00:10:00 with 0 errors on Sun Nov  1 03:10:00 2026
config:

\tNAME        STATE     READ WRITE CKSUM
\ttank        DEGRADED     0     0     0
\t  mirror-0  DEGRADED     0     0     0

errors: No known data errors

  pool: zroot
 state: ONLINE
config:

\tNAME        STATE     READ WRITE CKSUM
\tzroot       ONLINE       0     0     0

errors: Permanent errors have been detected in the following files:
"""


def recorded(transcript: str, command: str) -> str:
    return next(block.stdout for block in blocks(transcript) if block.command == command and block.stdout)


def tools(answers: dict[str, str], asked: list[Sequence[str]] | None = None) -> Any:
    """Says what is in `answers` for a command line that begins so; nothing for others, as on a host without it."""

    def ask(argv: Sequence[str]) -> str:
        if asked is not None:
            asked.append(argv)
        line = " ".join(argv)
        return next((text for beginning, text in answers.items() if line.startswith(beginning)), "")

    return ask


def test_a_freebsd_host_as_it_was_recorded() -> None:
    asked: list[Sequence[str]] = []
    host = {
        "sysctl -ie": "hw.model=AMD EPYC Processor\nhw.physmem=6415732736\nhw.ncpu=2\nkern.smp.cores=2\n",
        "freebsd-version -kr": "13.2-RELEASE-p1\n13.2-RELEASE\n",
        "kenv": recorded("01-host.txt", "kenv"),
        "geom disk list": recorded("01-host.txt", "geom disk list"),
        "ifconfig -a": recorded("04-ifconfig.txt", "ifconfig -a"),
        "pciconf -lv": recorded("01-host.txt", "pciconf -lv | head -60"),
        "zpool list -Hp": "zroot\t8053063680\t150528\t0\tONLINE\n",
        "zpool status": recorded("02-zfs.txt", "zpool status zroot"),
        "bectl list -H": "default\tNR\t/\t1.2G\t2026-11-20 18:15\nbefore\t-\t-\t8K\t2026-11-21 10:00\n",
    }
    found = freebsd.gather(tools(host, asked))
    assert found.machine == "QEMU Standard PC (Q35 + ICH9, 2009)"
    assert (found.memory, found.cpu.cores, found.cpu.threads, found.kernel) == (6415732736, 2, 2, "13.2-RELEASE")
    assert found.reboot == "the kernel 13.2-RELEASE-p1 is installed, and 13.2-RELEASE runs"
    assert [(one.name, one.size, one.serial, one.model) for one in found.drives] == [
        ("vtbd0", 6509562368, "ROOTDISK", ""),
        ("vtbd1", 8589934592, "TANKDISK", ""),
    ]
    (nic,) = found.nics
    assert (nic.name, nic.driver, nic.mac, nic.up) == ("vtnet0", "vtnet", "52:54:00:12:34:56", True)
    assert nic.speed == "10Gbase-T <full-duplex>"
    assert [(one.name, one.health, one.problem) for one in found.pools] == [("zroot", "ONLINE", "")]
    assert [(one.name, one.running, one.next) for one in found.environments] == [
        ("default", True, True),
        ("before", False, False),
    ]
    assert found.smart == common.NO_SMARTCTL
    assert len(asked) == 10
    assert decode_any(encode(found)) == found


def test_devices_by_the_name_of_their_driver() -> None:
    found = freebsd.parse_devices(recorded("01-host.txt", "pciconf -lv | head -60"))
    assert found["ahci0"].startswith("Intel Corporation 82801IR/IO/IH")
    assert found["virtio_pci2"] == "Red Hat, Inc. Virtio network device"


def test_interfaces_that_were_made_are_no_hardware() -> None:
    text = recorded("08-rc.txt", "ifconfig")
    assert [nic.name for nic in freebsd.parse_nics(text, "")] == ["vtnet0"]


def test_health_of_disks_is_found_by_name_and_by_serial_number() -> None:
    drives = [DriveReading(name=name, serial=serial) for name, serial in (("ada0", ""), ("nda0", "N-1"), ("ada1", ""))]
    asked: list[Sequence[str]] = []
    scan = {"devices": [answer["device"] for answer in (SATA, NVME, ASLEEP)] + [{"name": "--help"}, {"name": 7}, 3]}
    answers = {
        "smartctl --scan -j": json.dumps(scan),
        "smartctl -j -i -H -A -n standby -d sat /dev/ada0": json.dumps(SATA),
        "smartctl -j -i -H -A -n standby -d nvme /dev/nvme0": json.dumps(NVME),
        "smartctl -j -i -H -A -n standby -d sat /dev/ada1": json.dumps(ASLEEP),
    }
    (sata, nvme, asleep), why_not = common.with_smart(drives, tools(answers, asked))
    assert (why_not, len(asked)) == ("", 4)
    assert sata.model == "Maker SSD 512"
    assert sata.smart is not None
    assert (sata.smart.health, sata.smart.bad, sata.smart.hours, sata.smart.temperature) == ("passed", 3, 1234, 31)
    assert nvme.smart is not None
    assert (nvme.smart.health, nvme.smart.worn, nvme.smart.bad) == ("failed", 97, 2)
    assert asleep.smart is not None
    assert (asleep.smart.health, asleep.smart.reason) == ("unknown", "Device is in STANDBY mode, exit(2)")


@pytest.mark.parametrize(
    "answer",
    [
        {"smart_status": 3, "ata_smart_attributes": {"table": {"id": 5}}, "temperature": [1]},
        {"smart_status": {"passed": "yes"}, "nvme_smart_health_information_log": {"percentage_used": 10**9}},
        {"smart_status": {"passed": True}, "temperature": {"current": 10**9}},
        {"smartctl": {"messages": [{"string": "a\n\x1b[2Jb" * 400}]}},
    ],
)
def test_nonsense_from_a_disk_is_unknown_health(answer: dict[str, Any]) -> None:
    found = common.smart(answer)
    assert found.health == "unknown"
    assert found.reason
    assert found.reason.isprintable()


def test_pools_that_are_not_well() -> None:
    listing = "tank\t1000\t900\t12\tDEGRADED\nzroot\t1000\t1\t0\tONLINE\n"
    tank, zroot = common.pools(listing, DEGRADED)
    assert (tank.health, tank.allocated, tank.fragmentation) == ("DEGRADED", 900, 12)
    assert tank.problem.startswith("One or more devices could not be opened. Sufficient replicas exist for the pool")
    assert tank.scan.startswith("scrub repaired 0B")
    assert zroot.problem.startswith("Permanent errors")
    assert common.pools("", "no pools available\n") == ()


def test_a_linux_host(tmp_path: Path) -> None:
    for name, text in {
        "proc/cpuinfo": "processor : 0\nmodel name : Fast CPU\nphysical id : 0\ncore id : 0\n\n"
        "processor : 1\nmodel name : Fast CPU\nphysical id : 0\ncore id : 0\n",
        "proc/meminfo": "MemTotal: 2048 kB\n",
        "proc/sys/kernel/osrelease": "6.1.0\n",
        "sys/class/dmi/id/sys_vendor": "Maker\n",
        "sys/class/dmi/id/product_name": "Box\n",
        "sys/block/sda/size": "2048\n",
        "sys/block/sda/device/model": "Disk\n",
        "sys/block/loop0/size": "2048\n",
        "sys/class/net/eth0/device/x": "",
        "sys/class/net/eth0/address": "02:00:00:00:00:01\n",
        "sys/class/net/eth0/operstate": "up\n",
        "sys/class/net/eth0/speed": "-1\n",
        "sys/class/net/lo/address": "00:00:00:00:00:00\n",
        "run/reboot-required": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = linux.gather(tools({}), tmp_path)
    assert (found.machine, found.memory, found.kernel) == ("Maker Box", 2 << 20, "6.1.0")
    assert (found.cpu.model, found.cpu.cores, found.cpu.threads) == ("Fast CPU", 1, 2)
    assert [(one.name, one.size, one.model) for one in found.drives] == [("sda", 1 << 20, "Disk")]
    assert [(one.name, one.up, one.speed) for one in found.nics] == [("eth0", True, "")]
    assert "reboot-required" in found.reboot


def test_a_host_without_any_tool_still_answers(tmp_path: Path) -> None:
    assert freebsd.gather(tools({})) == InventoryReading(smart=common.NO_SMARTCTL)
    assert linux.gather(tools({}), tmp_path) == InventoryReading(smart=common.NO_SMARTCTL)


def test_this_host_answers() -> None:
    """Whatever it is: the real tools and files, through the real codec."""
    import skep_helper.platforms as platforms
    from skep_helper.policy import Policy
    from skep_helper.vocabulary import ReadInventory

    read = platforms.load(Policy()).handlers[ReadInventory]
    found = read(None, ReadInventory())  # type: ignore[arg-type]
    assert found.cpu.threads > 0
    assert found.memory > 0
    assert decode_any(encode(found)) == found
