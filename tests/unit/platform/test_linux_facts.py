"""Facts of a Linux host, from a tree that looks like /proc and /sys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from skep_helper.vocabulary import Feature, HelloReading
from skepd.platform.linux.facts import read_facts

HELLO = HelloReading(
    version=1,
    platform="linux",
    boot_id="b-1",
    features=(Feature(name="vlan", works=False, reason="no 8021q"), Feature(name="nat", works=True)),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "proc/sys/kernel/hostname": "cupboard\n",
        "proc/meminfo": "MemTotal:        2048 kB\nMemFree: 1 kB\n",
        "proc/net/route": "Iface\tDestination\nbr0\t00000000\n",
        "proc/net/if_inet6": "fe800000000000000000000000000001 02 40 20 80     eth3\n"
        "fd000000000000000000000000000001 03 40 00 80     eth2.10\n",
        "sys/devices/system/cpu/online": "0-3,8\n",
        "sys/bus/pci/devices/0000:01:00.0/x": "",
        "sys/class/net/br0/lower_eth1/x": "",
        "sys/class/net/eth2.10/lower_eth2/x": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_facts(root: Path) -> None:
    facts = read_facts(replace(HELLO, uplinks=("eth0", "eth1", "eth2", "eth3")), root=root)
    assert (facts.platform, facts.hostname, facts.boot_id) == ("linux", "cupboard", "b-1")
    assert (facts.cpus, facts.memory) == (5, 2 << 20)
    assert facts.pci_devices == ("0000:01:00.0",)
    assert facts.missing == {"vlan": "no 8021q"}
    # The bridge's port and the VLAN's parent carry the host's addresses; a link-local address alone does not count.
    assert facts.management == ("eth1", "eth2")


def test_a_tree_without_proc(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"route|hostname"):
        read_facts(HELLO, root=tmp_path)
