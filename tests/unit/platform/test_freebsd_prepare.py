"""What a FreeBSD machine needs for a site, from the site alone and held against what a machine has."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from skepd.model.errors import DefinitionError
from skepd.model.site import Site
from skepd.model.site_reader import parse_site
from skepd.plan.needs import Need, ready
from skepd.platform.freebsd import look, machine
from skepd.platform.freebsd.machine import Machine
from skepd.platform.freebsd.prepare import HASHES, MODULES, needs
from skepd.platform.linux import prepare as linux
from skepd.platform.preparing import prepare

ROOT = Path(__file__).parents[3]
TRANSCRIPTS = ROOT / "tests/freebsd/transcripts"
BRANCH = (ROOT / "examples/branch-office/site.toml").read_text()
SMALL = """
[host]
name = "hive"
platform = "freebsd"
[host.management]
interface = "igb0"
address = "10.0.0.2/24"
gateway = "10.0.0.1"
[storage]
backend = "zfs"
pool = "tank"
mirrors = [["ada0", "ada1"]]
[uplink.igb0]
mtu = 9000
[guest.g]
memory = "1G"
passthrough = ["0000:03:00.0", "0000:0a:1f.7"]
[[guest.g.disk]]
size = "1G"
"""


def recorded(transcript: str, command: str) -> str:
    """What a command wrote to standard output, the first time that it succeeded."""
    text = (TRANSCRIPTS / transcript).read_text()
    parts = [part.partition("\n") for part in text.split("\n$ ")]
    outputs = [rest for line, _, rest in parts if line == command and rest.startswith("--- stdout\n")]
    return outputs[0].removeprefix("--- stdout\n").split("--- exit")[0].split("--- stderr")[0]


def site(text: str) -> Site:
    return parse_site(text, "site.toml")


def lines(found: tuple[Need, ...], place: str) -> list[str]:
    return [need.line for need in found if need.place == place]


def of(found: tuple[Need, ...], beginning: str) -> Need:
    (need,) = [need for need in found if need.line.startswith(beginning)]
    return need


def following(found: tuple[Need, ...]) -> Machine:
    """A machine whose administrator did all of it, and booted."""
    settings = {
        place: machine.parse_settings("\n".join(lines(found, place)))
        for place in ("/etc/rc.conf", "/boot/loader.conf", "/etc/sysctl.conf")
    }
    return Machine(
        rc=settings["/etc/rc.conf"],
        loader=settings["/boot/loader.conf"],
        sysctl_conf=settings["/etc/sysctl.conf"],
        kernel={**settings["/boot/loader.conf"], **settings["/etc/sysctl.conf"]},
        modules=frozenset(MODULES),
        rulesets=machine.parse_rulesets(*lines(found, "/etc/devfs.rules")),
        policy=machine.parse_policy("\n".join(lines(found, "/usr/local/etc/skep/policy.toml"))),
        pools=frozenset({"tank"}),
        datasets={"tank/skep": {"mountpoint": "/var/db/skep/pool", "volmode": "dev"}},
        drivers={"0000:03:00.0": "ppt", "0000:0a:1f.7": "ppt"},
        interfaces=frozenset({"igb0", "igb1", "lo0"}),
        users=frozenset({"skep", "skepgw"}),
        groups=frozenset({"skep", "skepgw"}),
        files=frozenset(
            {
                "/usr/local/sbin/dnsmasq",
                "/usr/local/sbin/smartctl",
                "/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd",
            }
        ),
    )


def test_a_branch_office_from_its_site_alone() -> None:
    found = needs(site(BRANCH), None)
    assert {need.state for need in found} == {""}
    assert [line for line in lines(found, "/etc/rc.conf") if "igb" in line or "vlan10" in line] == [
        'ifconfig_igb0="up -txcsum -tso4 -tso6 -lro"',
        'vlans_igb0="vlan10"',
        'create_args_vlan10="vlan 10"',
        'ifconfig_igb1="up -txcsum -tso4 -tso6 -lro"',
        'ifconfig_vlan10="inet 10.7.10.2/24"',
    ]
    assert lines(found, "/etc/sysctl.conf") == [
        "kern.init_shutdown_timeout=480",
        "net.link.tap.up_on_open=1",
        "net.link.tap.devfs_cloning=0",
    ]
    assert lines(found, "/usr/local/etc/skep/policy.toml") == ['uplinks = ["igb0", "igb1"]']
    assert lines(found, "command")[-2:] == [
        "zpool create -O compression=lz4 -O atime=off -m none tank mirror ada0 ada1",
        "zfs create -o mountpoint=/var/db/skep/pool -o volmode=dev tank/skep",
    ]


def test_an_uplink_that_the_host_is_reached_by_has_one_line() -> None:
    found = needs(site(SMALL), None)
    assert of(found, "ifconfig_").line == 'ifconfig_igb0="inet 10.0.0.2/24 -txcsum -tso4 -tso6 -lro mtu 9000"'
    assert of(found, "pptdevs").line == 'pptdevs="3/0/0 10/31/7"'
    assert of(found, "defaultrouter").line == 'defaultrouter="10.0.0.1"'


def test_addresses_of_both_families_and_more_than_one() -> None:
    text = """
[host]
name = "hive"
[uplink.ix0]
[vlan."mgmt.5"]
uplink = "ix0"
vlan = 5
addresses = ["10.0.0.2/24", "10.0.1.2/24", "fd00::2/64", "fd01::2/64"]
""".replace('"mgmt.5"', "mgmt5")
    assert [line for line in lines(needs(site(text), None), "/etc/rc.conf") if "mgmt5" in line] == [
        'vlans_ix0="mgmt5"',
        'create_args_mgmt5="vlan 5"',
        'ifconfig_mgmt5="inet 10.0.0.2/24"',
        'ifconfig_mgmt5_ipv6="inet6 fd00::2/64"',
        'ifconfig_mgmt5_alias0="inet 10.0.1.2/24"',
        'ifconfig_mgmt5_alias1="inet6 fd01::2/64"',
    ]


def test_guests_have_the_time_that_they_need_at_shutdown() -> None:
    found = needs(site(BRANCH), None)
    # vpn a minute, dc five, files and backup together one, and one for the services.
    assert of(found, "rcshutdown_timeout").line == 'rcshutdown_timeout="480"'
    there = following(found)
    longer = replace(
        there,
        rc={**there.rc, "rcshutdown_timeout": "900"},
        sysctl_conf={"kern.init_shutdown_timeout": "900"},
        kernel={"kern.init_shutdown_timeout": "900"},
    )
    checked = needs(site(BRANCH), longer)
    assert {of(checked, name).state for name in ("rcshutdown_timeout", "kern.init_shutdown")} == {"present"}
    shorter = needs(site(BRANCH), replace(longer, kernel={"kern.init_shutdown_timeout": "120"}))
    assert of(shorter, "kern.init_shutdown").state == "pending"


def test_many_devices_are_spread_over_the_loaders_variables() -> None:
    addresses = [f'"0000:{bus:02x}:1f.0"' for bus in range(200, 220)]
    text = SMALL.replace('["0000:03:00.0", "0000:0a:1f.7"]', f"[{', '.join(addresses)}]")
    found = [line for line in lines(needs(site(text), None), "/boot/loader.conf") if line.startswith("pptdevs")]
    assert [line.partition("=")[0] for line in found] == ["pptdevs", "pptdevs2"]
    assert all(len(line.split('"')[1]) < 128 for line in found)
    assert sum(len(line.split()) for line in found) == 20


@pytest.mark.parametrize("text", [SMALL, BRANCH])
def test_a_machine_that_followed_all_of_it_is_ready(text: str) -> None:
    wanted = site(text)
    there = following(needs(wanted, None))
    found = needs(wanted, there)
    assert [need for need in found if need.state != "present"] == []
    assert ready(found)


@pytest.mark.parametrize(
    ("spoil", "beginning", "state", "says"),
    [
        (lambda m: replace(m, rc={}), "zfs_enable", "missing", ""),
        (lambda m: replace(m, rc={**m.rc, "skepd_enable": "NO"}), "skepd_enable", "different", "'NO' there"),
        (lambda m: replace(m, rc={**m.rc, "ifconfig_igb0": "DHCP"}), "ifconfig_igb0", "different", "'DHCP' is there"),
        (lambda m: replace(m, modules=m.modules - {"vmm"}), "kld_list", "pending", "vmm"),
        (lambda m: replace(m, drivers={}), "pptdevs", "pending", "not held by ppt(4): 3/0/0, 10/31/7"),
        (lambda m: replace(m, kernel={"net.pf.states_hashsize": "32768"}), "net.pf.states", "pending", "next boot"),
        (lambda m: replace(m, kernel={"net.link.tap.up_on_open": "0"}), "net.link.tap.up", "pending", "service sysctl"),
        (lambda m: replace(m, rulesets={19_999: "mine"}), "[skep_bhyve", "different", "called mine"),
        (lambda m: replace(m, rulesets={**m.rulesets, 20_001: "x"}), "[skep_bhyve", "different", "x=20001"),
        (lambda m: replace(m, policy={}), "uplinks", "missing", ""),
        (lambda m: replace(m, pools=frozenset()), "zpool", "missing", ""),
        (lambda m: replace(m, datasets={"tank/skep": {"mountpoint": "/tank/skep", "volmode": "dev"}}), "zfs create",
         "different", "zfs set mountpoint=/var/db/skep/pool tank/skep"),
        (lambda m: replace(m, users=frozenset({"skep"})), "pw useradd skepgw", "missing", ""),
        (lambda m: replace(m, interfaces=frozenset({"em0"})), "ifconfig igb0", "missing", ""),
    ],
)  # fmt: skip
def test_what_is_not_so_is_told(spoil: Callable[[Machine], Machine], beginning: str, state: str, says: str) -> None:
    wanted = site(SMALL)
    found = needs(wanted, spoil(following(needs(wanted, None))))
    need = of(found, beginning)
    assert (need.state, says in need.found) == (state, True), need
    assert not ready(found)


def test_what_the_administrator_has_stays() -> None:
    have = Machine(rc={"kld_list": "coretemp nmdm", "ifconfig_igb0": "inet 10.0.0.2 netmask 0xffffff00 -lro"})
    found = needs(site(SMALL), have)
    assert of(found, "kld_list").line.startswith('kld_list="coretemp nmdm vmm if_bridge')
    assert of(found, "ifconfig_igb0").line == 'ifconfig_igb0="inet 10.0.0.2/24 -lro -txcsum -tso4 -tso6 mtu 9000"'
    dotted = replace(
        have, rc={"ifconfig_igb0": "inet 10.0.0.2 netmask 255.255.255.0 -txcsum -tso4 -tso6 -lro mtu 9000"}
    )
    assert of(needs(site(SMALL), dotted), "ifconfig_igb0").state == "present"


def test_what_is_compiled_in_is_not_asked_for() -> None:
    have = Machine(modules=frozenset({"vmm"}), builtin=frozenset({"if_vlan", "if_tuntap", "pf"}))
    words = of(needs(site(SMALL), have), "kld_list").line.split('"')[1].split()
    assert words == [name for name in MODULES if name not in have.builtin]


def test_a_fresh_machine_as_it_was_recorded() -> None:
    recordings = {
        ("sysrc", "-a"): recorded("08-rc.txt", "sysrc -a"),
        ("kldstat", "-v"): recorded("01-host.txt", "kldstat -v | head -30"),
        ("pciconf", "-l"): recorded("01-host.txt", "pciconf -l | head"),
        ("zpool", "list"): "zroot\n",
    }
    found = look.look(lambda argv: recordings.get(tuple(argv[:2]), ""), Path("/nonexistent"))
    assert (found.rc["sshd_enable"], found.rc["ifconfig_vtnet0"], found.pools) == ("YES", "DHCP", {"zroot"})
    assert {"if_vlan", "if_tuntap", "kernel"} <= found.modules
    assert "if_vlan" in found.builtin
    assert found.drivers["0000:00:1f.2"] == "ahci"
    missing = needs(site(SMALL), found)
    assert of(missing, "zfs_enable").state == "present"
    assert of(missing, "hostname").found == "hostname is 'fbsdlab' there"
    assert "if_vlan" not in of(missing, "kld_list").line
    assert [need.state for need in missing if need.line.startswith(tuple(HASHES))] == ["missing"] * len(HASHES)


def test_the_machine_is_read_with_few_commands() -> None:
    asked: list[list[str]] = []
    look.look(lambda argv: asked.append(argv) or "", Path("/nonexistent"))  # type: ignore[func-returns-value]
    assert [argv[0] for argv in asked] == ["sysctl", "kldstat", "sysrc", "zpool", "zfs", "pciconf", "ifconfig"]


def test_files_are_read_as_the_loader_and_rc_read_them(tmp_path: Path) -> None:
    for name, text in {
        "boot/loader.conf": '# c\nzfs_load="YES"\na.b="1" # said\nnet.x=3\n',
        "boot/loader.conf.d/z.conf": "a.b='2'\n",
        "etc/sysctl.conf": "net.link.tap.up_on_open=0\n#net.x=1\n",
        "etc/sysctl.conf.local": "net.link.tap.up_on_open = 1\n",
        "etc/rc.conf": 'zfs_enable="YES"\nkld_list="vmm nmdm"\n',
        "etc/devfs.rules": "[localrules=10]\nadd path 'da*' mode 0660\n[skep_bhyve=19999]\n",
        "usr/local/etc/skep/policy.toml": 'uplinks = ["igb0"]\n',
        "usr/local/sbin/dnsmasq": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = look.look(lambda argv: "", tmp_path)
    assert found.loader == {"zfs_load": "YES", "a.b": "2", "net.x": "3"}
    assert found.rc == {"zfs_enable": "YES", "kld_list": "vmm nmdm"}
    assert found.sysctl_conf == {"net.link.tap.up_on_open": "1"}
    assert found.rulesets == {10: "localrules", 19_999: "skep_bhyve"}
    assert (found.policy, found.files) == ({"uplinks": ["igb0"]}, {"/usr/local/sbin/dnsmasq"})


def test_values_that_sysrc_prints() -> None:
    assert machine.parse_sysrc("a: one: two\nempty: \nmulti: a\n b\nlast:\n") == {
        "a": "one: two",
        "empty": "",
        "multi": "a b",
        "last": "",
    }


def test_another_platform_is_printed_but_not_checked() -> None:
    assert prepare(site(SMALL), here="linux", check=False)
    with pytest.raises(DefinitionError, match=r"site\.toml:4: .*for freebsd, and this machine runs linux"):
        prepare(site(SMALL), here="linux", check=True)
    with pytest.raises(DefinitionError, match='write platform = "freebsd"'):
        prepare(site('[host]\nname = "x"\n'), here="sim", check=False)


def test_linux_says_what_make_up_does() -> None:
    text = (
        '[host]\nname = "x"\nplatform = "linux"\n[uplink.eth0]\n[network.a]\nkind = "vlan"\nuplink = "eth0"\nvlan = 5\n'
    )
    found = prepare(site(text), here="linux", check=False)
    assert of(found, "8021q").place == "/etc/modules-load.d/skep.conf"
    assert "make up" in of(found, "apt-get install nftables").reason
    modular = linux.Machine(modules=frozenset({"tun"}), listed=frozenset({"bridge"}), programs=frozenset({"nft"}))
    states = {need.line: need.state for need in linux.needs(site(text), modular)}
    assert [states[name] for name in ("tun", "bridge", "8021q")] == ["present", "present", "missing"]
    assert (states["apt-get install nftables"], states["apt-get install ovmf"]) == ("present", "missing")
    compiled = linux.needs(site(text), replace(modular, modular=False))
    assert "tun" not in {need.line for need in compiled}
    assert {need.state for need in prepare(site(text), here="linux", check=True)} <= {"present", "missing"}
    assert "8021q" not in {need.line for need in prepare(site(text.split("[network")[0]), here="linux", check=False)}


def test_without_a_server_a_program_answers(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "skepd.daemon.prepare", "--file", "mine.toml"]
    done = subprocess.run(argv, input=SMALL, capture_output=True, text=True, check=True)
    assert {"place", "line", "reason", "state", "found"} == set(json.loads(done.stdout)[0])
    wrong = subprocess.run(argv, input="[host]\n", capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr.startswith("mine.toml:1: ")) == (65, True)
