"""Single settings of vm-bhyve: how they are read, what of them is kept, and what is said of the rest."""

from __future__ import annotations

import pytest
from adoption_samples import GIB, SYSTEM, conf, foreign, reading
from skep_helper.vocabulary import VmBhyveDisk
from skepd.adoption import conf as conf_texts
from skepd.adoption.adoption import Adoption, examine
from skepd.adoption.guests import Choices
from skepd.adoption.keys import KNOWN
from skepd.adoption.vm_bhyve import memory
from skepd.model.desired import Desired
from skepd.model.objects import Cpus, Guest, Network

BASE = ('loader="uefi"', "cpu=1", "memory=1G")


def find(*lines: str, system: str = SYSTEM, choices: Choices | None = None, desired: Desired | None = None,
         text: str = "", **fields: object) -> Adoption:  # fmt: skip
    guest = foreign("web", text or conf(*BASE, *lines), **fields)  # type: ignore[arg-type]
    return examine(reading(guest, system=system), desired or Desired(), {}, (), choices or Choices())


def refusals(found: Adoption) -> list[str]:
    (one,) = found.guests
    texts = [str(item) for item in one.findings if item.refuses]
    assert (one.guest is None) == bool(texts)
    return texts


def notes(found: Adoption) -> str:
    (one,) = found.guests
    return "\n".join(str(item) for item in one.findings if not item.refuses)


def taken(found: Adoption) -> Guest:
    (one,) = found.guests
    assert one.guest is not None, one.findings
    return one.guest


def test_lines_are_read_as_vm_bhyve_reads_them() -> None:
    text = ' cpu=9\nCPU=8\ncpu="2" # two\nmemory="4""G"  \ncpu=3\nnothing\nempty=\n'
    found = conf_texts.read(text, "x.conf")
    assert {key: setting.value for key, setting in found.settings.items()} == {"cpu": "2", "memory": "4G", "empty": ""}
    assert found.twice == (("cpu", 5),)
    assert found.place("memory") == "x.conf:4"
    assert [found.yes(key, default) for key, default in (("empty", True), ("gone", True), ("cpu", False))] == [
        False, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "size"),
    [("512M", 512 << 20), ("512MB", 512 << 20), ("4g", 4 << 30), ("256", 256 << 20), ("1T", 1 << 40),
     ("1073741824", 1 << 30), ("", 0), ("big", 0), ("1.5G", 0)],
)  # fmt: skip
def test_memory_is_what_bhyve_makes_of_it(text: str, size: int) -> None:
    assert memory(text) == size


def test_cpus_stay_the_sockets_that_the_guest_saw() -> None:
    assert taken(find(text=conf('loader="uefi"', "cpu=4", "memory=1G"))).cpus == Cpus(sockets=4)
    lines = ("cpu=8", "cpu_sockets=2", "cpu_cores=2", "cpu_threads=2", "memory=1G", 'loader="uefi"')
    assert taken(find(text=conf(*lines))).cpus == Cpus(sockets=2, cores=2, threads=2)
    (text,) = refusals(find(text=conf("cpu=4", "cpu_cores=4", "memory=1G", 'loader="uefi"')))
    assert "4 sockets of 4 cores of 1 threads are not the 4 CPUs" in text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("disk0_opts=ro", "web.conf:4: disk0 (disk0) is read-only"),
        ("disk0_opts=sectorsize=4096/4096", "sectors of 4096 bytes"),
        ("disk1_type=virtio-9p\ndisk1_name=share=/home", "a device 'virtio-9p'"),
        ("disk1_type=nvme\ndisk1_name=/dev/da3\ndisk1_dev=custom", "is a device or file of its own"),
        ("disk1_type=nvme\ndisk1_name=/dev/zvol/tank/x\ndisk1_dev=custom",
         "zfs rename tank/x zroot/vm/web/disk1 && sysrc -f /zroot/vm/web/web.conf disk1_dev=zvol disk1_name=disk1"),
        ("disk1_type=nvme\ndisk1_name=iqn.x/1\ndisk1_dev=iscsi", "iSCSI target"),
        ("disk1_type=nvme\ndisk1_name=disk7\ndisk1_dev=zvol", "there is no zvol zroot/vm/web/disk7"),
        ("disk1_type=nvme\ndisk1_name=d.img", "there is no file /zroot/vm/web/d.img"),
        ("network1_type=virtio-net", "network card 1 is connected to no switch"),
        ("network1_type=virtio-net\nnetwork1_device=tap7", "the interface tap7 of your own"),
        ("network1_type=virtio-net\nnetwork1_switch=public\nnetwork1_span=yes", "sees all frames"),
        ("network1_type=virtio-net\nnetwork1_switch=lab", 'there is no switch "lab"'),
        ("network1_type=ne2k\nnetwork1_switch=public", "a device 'ne2k'"),
        ("network1_type=e1000\nnetwork1_switch=public\nnetwork1_mac=01:00:5e:00:00:01", "no usable MAC"),
        ("passthru0=igb1", "is no BUS/SLOT/FUNCTION"),
        ("loader=x", ""),
    ],
)  # fmt: skip
def test_what_skep_cannot_do_refuses_the_guest(line: str, words: str) -> None:
    found = find(*line.split("\n"))
    if words:
        (text,) = refusals(found)
        assert words in text
        assert text.startswith("/zroot/vm/")
    else:
        assert "loader is there twice" in notes(found)


@pytest.mark.parametrize(("key", "value"), [("loader", "uefi-csm"), ("loader", ""), ("memory", "8M"), ("cpu", "many")])
def test_what_is_missing_or_wrong_refuses_the_guest(key: str, value: str) -> None:
    lines = {"loader": "uefi", "cpu": "1", "memory": "1G", key: value}
    (text,) = refusals(find(text=conf(*(f"{name}={item}" for name, item in lines.items()))))
    assert key in text or value in text


def test_a_guest_that_runs_or_sleeps_is_refused() -> None:
    (busy,) = refusals(find(busy="/dev/vmm/web exists"))
    assert "runs (/dev/vmm/web exists): vm stop web" in busy
    (suspended,) = refusals(find(suspended=True))
    assert "is suspended" in suspended


def test_unknown_keys_are_named_with_file_and_line() -> None:
    text = notes(find("grahpics=yes", "disk0_colour=blue"))
    assert "/zroot/vm/web/web.conf:4: vm-bhyve knows no key 'grahpics' (did you mean \"graphics\"?)" in text
    assert "/zroot/vm/web/web.conf:5: vm-bhyve knows no key 'disk0_colour'" in text


def test_every_key_without_an_equal_is_said_and_no_other() -> None:
    silent = notes(find("debug=no", "virt_random=yes", "disk0_size=50G", "zfs_zvol_opts=volblocksize=8k",
                        "bhyve_options=-w", "comports=com1", "hostbridge=standard", "wired_memory=no",
                        "virt_console0=org.qemu.guest_agent.0"))  # fmt: skip
    assert [line for line in silent.splitlines() if "web.conf" in line and "uuid" not in line] == []
    said = notes(find("comports=com1 com2", "hostbridge=amd", "wired_memory=yes", "prestart=x.sh", "priority=5",
                      "bhyve_options=-p 1:1", "virt_console0=yes", "sound=on", "limit_pcpu=10", "passthru0=6/0/0=2:0",
                      "graphics_port=5999", "vnc_password=secret", "on_restart=shutdown"))  # fmt: skip
    for word in ("comports", "hostbridge=amd", "wired_memory", "prestart", "priority", "bhyve_options", "console 'yes'",
                 "sound", "limit_pcpu", "passthru0 (2:0)", "graphics_port", "vnc_password", "on_restart"):  # fmt: skip
        assert word in said
    assert "secret" not in said
    assert len(KNOWN) > 60


def test_devices_keep_their_places_as_far_as_skep_has_them() -> None:
    plain = find("disk1_type=nvme", "disk1_name=disk1", "disk1_dev=zvol", zvols=("disk0", "disk1"))
    assert "places on the PCI bus" not in notes(plain)
    guest = taken(plain)
    assert [disk.slot for disk in guest.disks] + [nic.slot for nic in guest.nics] == [0, 1, 2]
    two = find(text=conf(*BASE, cards=2))
    assert "network cards from the second on are at other places" in notes(two)
    assert "disks and network cards are at other places" in notes(find("start_slot=5"))


def test_disks_passthrough_clock_and_media() -> None:
    found = find("disk0_opts=nodelete,nocache", "passthru0=3/0/1", "utctime=off", "graphics=on",
                 "disk1_type=ahci-cd", "disk1_name=seed.iso")  # fmt: skip
    guest = taken(found)
    assert guest.passthrough == ("0000:03:00.1",)
    assert guest.disks[0].edition == "thin"
    reserved = find(text=conf(*BASE, dev="zvol"))
    assert taken(reserved).disks[0].edition == "full"
    assert (guest.disks[0].discard, guest.local_clock, guest.screen, guest.profile) == (False, True, True, "windows")
    assert "disk1 (seed.iso) is a CD" in notes(found)
    assert taken(find("utctime=off", choices=Choices(profile="freebsd"))).profile == "freebsd"


def test_names_are_made_fit_and_never_taken_twice() -> None:
    guests = [foreign(name, conf(*BASE)) for name in ("Web_1", "web.1", "ok")]
    found = examine(reading(*guests), Desired(guests={"ok": Guest(name="ok")}), {}, (), Choices())
    by_name = {one.source: one for one in found.guests}
    assert by_name["Web_1"].name == "web-1"
    assert by_name["Web_1"].guest is not None
    assert by_name["web.1"].guest is None
    assert by_name["ok"].guest is None
    assert "there is a guest ok in Skep already" in str(by_name["ok"].findings[0])


def test_only_what_is_named_and_was_not_taken_over_before() -> None:
    guests = [foreign(name, conf(*BASE), zvols=()) if name == "a" else foreign(name, conf(*BASE)) for name in "abc"]
    found = examine(reading(*guests), Desired(), {"zroot/vm/a/disk0": "a2"}, (), Choices())
    assert ([one.source for one in found.guests], found.already) == (["b", "c"], {"a": "a2"})
    found = examine(reading(*guests), Desired(), {}, ("c", "d"), Choices())
    assert ([one.source for one in found.guests], found.unknown[0][0]) == (["c"], "d")


def test_vm_list_becomes_order_and_the_line_to_remove() -> None:
    guests = [foreign(name, conf(*BASE)) for name in ("a", "b")]
    found = examine(reading(*guests, autostart=("b",)), Desired(), {}, (), Choices())
    a, b = found.guests
    assert a.guest is not None
    assert b.guest is not None
    assert (a.guest.autostart, b.guest.autostart, b.guest.boot.order) == (False, True, 100)
    assert str(b.findings[-1]) == "/etc/rc.conf: vm-bhyve would still start b when the host boots: sysrc vm_list-=b"


def network(*lines: str, name: str = "public") -> tuple[Network | None, str]:
    found = find(system="\n".join([f'switch_list="{name}"', *lines]))
    (one,) = found.guests
    return (found.networks[0] if found.networks else None), "\n".join(str(item) for item in one.findings)


def test_switches_become_networks() -> None:
    made, _ = network()
    assert made is not None
    assert (made.kind, made.uplink) == ("isolated", None)
    made, _ = network("ports_public=em0", "vlan_public=12", "mtu_public=9000")
    assert made is not None
    assert (made.kind, made.uplink, made.vlan, made.mtu) == ("vlan", "em0", 12, 9000)
    made, text = network("addr_public=192.0.2.1/24", "addr6_public=2001:db8::1/64")
    assert made is not None
    assert (made.kind, made.host_address) == ("isolated", "192.0.2.1/24")
    assert [(subnet.prefix, subnet.dhcp) for subnet in made.subnets] == [("192.0.2.0/24", False)]
    assert "2001:db8::1/64 is not carried over" in text
    made, _ = network("type_public=manual", "bridge_public=bridge7")
    assert made is not None
    assert (made.kind, made.uplink) == ("flat", "bridge7")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("ports_public=em0 em1",), "has the ports em0, em1"),
        (("private_public=yes",), "keeps its guests apart"),
        (("type_public=vxlan", "vlan_public=5", "ports_public=em0"), "by multicast"),
        (("type_public=vale",), "VALE"),
        (("type_public=netgraph",), "netgraph"),
        (("type_public=manual",), "names no bridge"),
        (("type_public=odd",), "of the kind 'odd'"),
        (("mtu_public=99",), "makes no network: mtu: 99"),
        (("addr_public=10.0.0.0/24",), "makes no network"),
    ],
)
def test_switches_without_an_equal_refuse_and_name_the_way_out(lines: tuple[str, ...], words: str) -> None:
    made, text = network(*lines)
    assert made is None
    assert words in text
    assert "--network public=NETWORK" in text


def test_the_caller_may_name_the_network() -> None:
    desired = Desired(networks={"lan": Network(name="lan")})
    chosen = Choices(networks={"public": "lan"})
    found = find(system="switch_list=public\ntype_public=vale", choices=chosen, desired=desired)
    assert taken(found)
    assert (found.networks, found.guests[0].ports[0].network) == ((), "lan")
    (text,) = refusals(find(choices=Choices(networks={"public": "nowhere"}), desired=desired))
    assert "there is no network nowhere in Skep" in text
    joined = find(desired=Desired(networks={"public": Network(name="public")}))
    assert joined.networks == ()
    assert "join the network public that Skep has already" in notes(joined)


def test_a_folder_that_is_no_dataset_has_no_zvols_to_take() -> None:
    file = VmBhyveDisk(name="disk0.img", kind="file", size=GIB)
    text = conf(*BASE, disk="disk0.img", dev="")
    found = find(text=text, dataset="", folder="/vm/web", disks=(file,))
    assert "move the guest to a ZFS datastore first" in refusals(found)[0]
