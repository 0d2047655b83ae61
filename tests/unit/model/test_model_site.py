"""What site.toml's notation stands for; the examples; the reference."""

import tomllib
from pathlib import Path

import pytest
from skepd.model.macs import leg_mac, mac_of
from skepd.model.objects import CloudInit, Cpus, Guest, Leg, Nic, Port, Router, Rule
from skepd.model.profiles import disk_model, local_clock, nic_model
from skepd.model.reference import render
from skepd.model.schema import Place, Source
from skepd.model.site import Site, least_host_part
from skepd.model.site_reader import parse_site
from skepd.model.site_sections import HOST_SECTIONS, NAMED_SECTIONS
from skepd.model.site_writer import render_site

ROOT = Path(__file__).parents[3]
EXAMPLES = ("laptop", "branch-office")


def example(name: str) -> str:
    return (ROOT / "examples" / name / "site.toml").read_text()


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_written_back_the_same(name: str) -> None:
    site = parse_site(example(name), name)
    text = render_site(site.desired, site.host_part)
    again = parse_site(text, name)
    assert (again.desired, again.host_part) == (site.desired, site.host_part)
    assert list(again.desired) == list(site.desired)
    assert render_site(again.desired, again.host_part) == text


def test_laptop_asks_for_nothing_that_is_not_built() -> None:
    site = parse_site(example("laptop"), "site.toml")
    assert site.not_built == ()
    assert example("laptop").count("\nssh-keys = []\n") == 1, "the installer writes its key there"
    assert site.desired.guests["files"].boot.after == ("gateway",)
    assert [port.network for port in site.desired.ports.values() if port.guest == "files"] == ["lan"]
    assert {port.network for port in site.desired.ports.values() if port.guest == "gateway"} == {"lan", "wan"}
    lan = site.desired.networks["lan"].subnets[0]
    assert (lan.own, lan.gateway) == ("10.78.0.1", "10.78.0.2")
    assert site.desired.ports["gateway.lan"].addresses == ("10.78.0.2",)


def test_branch_office_says_what_is_not_built() -> None:
    text = example("branch-office")
    site = parse_site(text, "site.toml")
    sections = [section for section, _ in site.not_built]
    assert {"storage", "schedule.twice-a-day", "replication.head-office"} <= set(sections)
    # The administrator's: `skep host prepare` prints their lines.
    assert {"uplink.igb0", "vlan.vlan10", "host.management"} & set(sections) == set()
    lines = text.splitlines()
    for section, line in site.not_built:
        assert lines[line - 1] == f"[{section}]"
    assert site.host_part.uplinks["igb0"].trunk == (10, 11, 12, 13, 14)
    assert site.desired.guests["dc"].disks[0].edition == "full"


BASE = '[host]\nname = "h"\nforwarding = true\n'


def parse(text: str) -> Site:
    return parse_site(BASE + text, "site.toml")


def test_network_defaults_by_kind() -> None:
    networks = parse(
        '[uplink.e]\n[network.a]\nsubnet = "10.0.0.0/24"\n[network.b]\nkind = "nat"\n'
        'subnet = ["10.1.0.0/24", "fd00::/64"]\n[network.c]\nkind = "flat"\nuplink = "e"\nsubnet = "10.2.0.0/24"\n'
        '[network.d]\nkind = "nat"\n[[network.d.subnet]]\nprefix = "10.3.0.0/24"\nown = "10.3.0.9"\n'
        '[[network.d.subnet]]\nprefix = "10.4.0.0/24"\nown = "none"\ndhcp = false\n'
    ).desired.networks
    seen = {name: [(s.own, s.gateway, s.dhcp) for s in network.subnets] for name, network in networks.items()}
    assert seen == {
        "a": [("10.0.0.1", None, True)],
        "b": [("10.1.0.1", "10.1.0.1", True), ("fd00::1", "fd00::1", True)],
        "c": [(None, None, False)],
        "d": [("10.3.0.9", "10.3.0.9", True), (None, None, False)],
    }


def test_cards_become_ports() -> None:
    desired = parse(
        '[network.n]\n[port.p]\nnetwork = "n"\n[guest.g]\n[[guest.g.nic]]\nnetwork = "n"\nmodel = "e1000"\n'
        'guard = false\n[[guest.g.nic]]\nname = "x"\nnetwork = "n"\n[[guest.g.nic]]\nport = "p"\n'
    ).desired
    assert desired.guests["g"].nics == (Nic(port="g.0", model="e1000"), Nic(port="g.x"), Nic(port="p"))
    assert desired.ports["g.0"] == Port(name="g.0", network="n", guest="g", guard=False)
    assert sorted(desired.ports) == ["g.0", "g.x", "p"]


def test_cloud_init_defaults_are_for_guests_that_have_it() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA me"
    guests = parse(
        f'[defaults.cloud-init]\nuser = "u"\nssh-keys = ["{key}"]\n[guest.a]\n[guest.b.cloud-init]\n'
        '[guest.c.cloud-init]\nuser = "v"\n[guest.d.cloud-init]\nuser-data = "#cloud-config"\n'
    ).desired.guests
    assert guests["a"].cloud_init is None
    assert guests["b"].cloud_init == CloudInit(user="u", ssh_keys=(key,))
    assert guests["c"].cloud_init == CloudInit(user="v", ssh_keys=(key,))
    assert guests["d"].cloud_init == CloudInit(user_data="#cloud-config")


def test_sizes_durations_and_cpus() -> None:
    guest = parse(
        '[guest.g]\nmemory = "1.5G"\ncpus = 3\nboot = { delay = "2m", shutdown-timeout = "1h" }\n'
        '[[guest.g.disk]]\nsize = "1.5T"\n'
    ).desired.guests["g"]
    assert (guest.memory, guest.disks[0].size, guest.disks[0].name) == (3 << 29, 3 << 39, "disk0")
    assert (guest.boot.delay, guest.boot.shutdown_timeout, guest.cpus) == (120, 3600, Cpus(cores=3))


@pytest.mark.parametrize(
    ("sentence", "rules"),
    [
        ("in tcp 22", [Rule(direction="in", family=f, protocol="tcp", ports="22") for f in ("ipv4", "ipv6")]),
        (
            "in ping",
            [
                Rule(direction="in", protocol="icmp", icmp_type=8),
                Rule(direction="in", family="ipv6", protocol="icmp", icmp_type=128),
            ],
        ),
        ("out ipv4", [Rule(direction="out")]),
        ("out any to fd00::/8", [Rule(direction="out", family="ipv6", remote="fd00::/8")]),
        ("in udp 1-2,9 from 10.0.0.1", [
            Rule(direction="in", protocol="udp", ports=p, remote="10.0.0.1/32") for p in ("1-2", "9")
        ]),
        ("in ipv6 icmp type 1 code 4 from filter f stateless", [
            Rule(direction="in", family="ipv6", protocol="icmp", icmp_type=1, icmp_code=4, group="f", stateless=True)
        ]),
        ("in ipv4 proto 47", [Rule(direction="in", protocol="47")]),
    ],
)  # fmt: skip
def test_rules(sentence: str, rules: list[Rule]) -> None:
    assert list(parse(f'[filter.f]\nrules = ["{sentence}"]').desired.filters["f"].rules) == rules


def test_macs_are_stable_unicast_and_local() -> None:
    port = Port(name="gateway.wan", network="wan")
    # Guests keep their addresses through upgrades of Skep: this must never change.
    assert mac_of(port) == "02:93:65:cb:b2:3b"
    assert mac_of(Port(name="x", network="n", mac="52:54:00:00:00:01")) == "52:54:00:00:00:01"
    macs = {mac_of(Port(name=f"g{n}.0", network="n")) for n in range(10_000)}
    assert len(macs) == 10_000
    router = Router(name="r", legs=(Leg(network="a", addresses=()), Leg(network="b", addresses=())))
    assert leg_mac(router, router.legs[0]) != leg_mac(router, router.legs[1])


def test_profiles_fill_in_what_is_not_said() -> None:
    windows = Guest(name="w", profile="windows", nics=(Nic(port="w.0"), Nic(port="w.1", model="virtio")))
    assert [nic_model(windows, nic) for nic in windows.nics] == ["e1000", "virtio"]
    assert local_clock(windows)
    assert not local_clock(Guest(name="w", profile="windows", local_clock=False))
    guest = parse('[guest.g]\n[[guest.g.disk]]\nsize = "1G"\n').desired.guests["g"]
    assert disk_model(guest, guest.disks[0]) == "virtio"


def test_a_host_without_site_can_be_exported() -> None:
    site = parse_site(example("laptop"), "site.toml")
    again = parse_site(render_site(site.desired, least_host_part("h", site.desired)), "s")
    assert again.desired == site.desired


def test_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "site-toml.md").read_text() == render(), (
        "python -m skepd.model.reference > docs/site-toml.md"
    )


def test_reference_examples_are_accepted() -> None:
    sections = [*HOST_SECTIONS.values(), *(section for section, _ in NAMED_SECTIONS.values())]
    keys = [key for section in sections for key in section.keys if key.example and "AAAA..." not in key.example]
    assert len(keys) > 20
    for key in keys:
        value = tomllib.loads(f"k = {key.example}")["k"]
        assert key.type.read(value, Place(Source())) is not None
