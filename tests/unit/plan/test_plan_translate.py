"""The model in the vocabulary's words: seeds, rules, groups, prefixes, slots, orders; and plans as text."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest
from planning import GIB, World, changed, desired, observe, router_between, small_site, without
from skepd.model.desired import Desired
from skepd.model.facts import HostFacts
from skepd.model.objects import Boot, CloudInit, Disk, Filter, Guest, Network, Nic, Port, Rule, Subnet
from skepd.model.site_reader import parse_site
from skepd.plan import Cache, settle
from skepd.plan.nat import nat_prefixes
from skepd.plan.order import BootOrder
from skepd.plan.show import plan_text, size_text
from skepd.plan.translate_guest import guest_spec
from skepd.plan.translate_port import collapsed, filter_rules, group_members
from skepd.plan.translate_seed import seed_of
from skepd.plan.translation import Translation
from skepd.plan.yaml import dump
from skepd.platform.sim import SimHost

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_yaml_quotes_what_is_in_doubt() -> None:
    text = dump(
        {
            "a": "plain-text",
            "b": "yes",
            "c": "1",
            "d": 'say "hi"\nagain',
            "e": True,
            "f": 7,
            "g": [],
            "h": [{"x": "y", "z": ["1.2.3.4", "/path"]}, "- dash"],
            "i": {"k": {}},
            "j": "grüße 😀",
        }
    )
    assert text == (
        'a: plain-text\nb: "yes"\nc: "1"\nd: "say \\"hi\\"\\nagain"\ne: true\nf: 7\ng: []\n'
        'h:\n  - x: "y"\n    z:\n      - "1.2.3.4"\n      - /path\n  - "- dash"\ni:\n  k: {}\nj: "grüße 😀"\n'
    )


def test_the_seed_of_a_guest_behind_a_gateway() -> None:
    site = small_site()
    seed = Translation(settle(Desired(), site), Cache()).seed("files")
    assert seed is not None
    assert seed.user_data == (
        "#cloud-config\nhostname: files\nusers:\n  - name: anna\n"
        '    sudo: "ALL=(ALL) NOPASSWD:ALL"\n    lock_passwd: true\n    ssh_authorized_keys:\n'
        '      - "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMqu8Ud5GHpsWbeNHdpNOG2FKqsQ9PNSDHyaDUJYDSoq anna@example"\n'
    )
    assert seed.network_config.startswith('version: 2\nethernets:\n  nic0:\n    match:\n      macaddress: "02:')
    assert seed.network_config.endswith(
        '    addresses:\n      - "10.2.0.20/24"\n    routes:\n      - to: "0.0.0.0/0"\n        via: "10.2.0.10"\n'
        '    nameservers:\n      search:\n        - skep.internal\n      addresses:\n        - "10.2.0.1"\n'
    )
    assert seed.meta_data.startswith("instance-id: files-")
    texts = (seed.user_data, seed.meta_data, seed.network_config)
    assert seed.digest == hashlib.sha256("".join(f"{text}\0" for text in texts).encode()).hexdigest()


def test_one_default_route_and_dhcp_where_no_address_is_given() -> None:
    v6 = Subnet(prefix="fd00:1::/64", own="fd00:1::1", gateway="fd00:1::1", advertise="stateful")
    v4 = Subnet(prefix="10.1.0.0/24", own="10.1.0.1", gateway="10.1.0.1")
    one = Network(name="one", subnets=(v4,))
    two = Network(name="two", subnets=(replace(v4, prefix="10.2.0.0/24", gateway="10.2.0.1"), v6), mtu=1400)
    ports = (
        Port(name="a.0", network="one", addresses=("10.1.0.5",)),
        Port(name="a.1", network="two", addresses=("10.2.0.5",)),
    )
    text = seed_of(Guest(name="a", cloud_init=CloudInit()), ports, (one, two)).network_config
    assert text.count("0.0.0.0/0") == 1
    assert 'via: "10.1.0.1"' in text
    assert "mtu: 1400" in text
    assert "dhcp6: true" in text
    assert "accept-ra: true" in text
    assert "dhcp4" not in text
    free = seed_of(Guest(name="a", cloud_init=CloudInit()), (replace(ports[0], addresses=()),), (one,)).network_config
    assert "dhcp4: true" in free


def test_a_changed_seed_is_a_new_instance() -> None:
    guest = Guest(name="a", cloud_init=CloudInit(user="anna"))
    one, same = seed_of(guest, (), ()), seed_of(guest, (), ())
    other = seed_of(replace(guest, cloud_init=CloudInit(user="bert")), (), ())
    assert one == same
    assert one.meta_data != other.meta_data
    given = seed_of(
        Guest(name="a", cloud_init=CloudInit(user_data="#!/bin/sh\n", network_config="version: 2\n")), (), ()
    )
    assert (given.user_data, given.network_config) == ("#!/bin/sh\n", "version: 2\n")


def test_rules() -> None:
    rules = (
        Rule(direction="in", protocol="tcp", ports="22"),
        Rule(direction="in", protocol="tcp", ports="22"),
        Rule(direction="in", protocol="udp", ports="8000-8100", remote="10.0.0.0/8", stateless=True),
        Rule(direction="in", family="ipv6", protocol="icmp", icmp_type=128),
        Rule(direction="out", protocol="47"),
        Rule(direction="out", group="web"),
    )
    found = [(rule.protocol, rule.number, rule.first, rule.last, rule.group) for rule in filter_rules(rules)]
    assert found == [
        ("tcp", 0, 22, 22, None),
        ("udp", 0, 8000, 8100, None),
        ("icmp", 0, 128, -1, None),
        ("", 47, -1, -1, None),
        ("", 0, -1, -1, "web"),
    ]


def test_group_members_are_those_that_routers_reach() -> None:
    web = Filter(name="web", rules=(Rule(direction="in", group="web"),))
    ports = {
        f"{net}.0": Port(name=f"{net}.0", network=net, addresses=(f"10.0.{i}.1",), filters=("web",))
        for i, net in enumerate(("a", "b", "c"))
    }
    ports["a.1"] = Port(
        name="a.1", network="a", addresses=("fd00::1",), pairs=((None, "10.9.0.0/16"),), filters=("web",)
    )
    joined = group_members(ports, {"web": web}, {"r": router_between("r", "a", "b")})
    assert joined["a", "web"] == joined["b", "web"] == ("10.0.0.1/32", "10.0.1.1/32", "10.9.0.0/16", "fd00::1/128")
    assert joined["c", "web"] == ("10.0.2.1/32",)
    assert group_members(ports, {"web": replace(web, rules=())}, {}) == {}


def test_collapsed_is_canonical() -> None:
    assert collapsed(["10.0.0.1", "fd00::/64", "10.0.0.0/32", "10.0.0.0/31"]) == ("10.0.0.0/31", "fd00::/64")


def test_nat_prefixes_meet_neither_each_other_nor_guests() -> None:
    networks = [Network(name=f"n{i}", kind="nat") for i in range(3000)]
    alone = nat_prefixes(networks)
    assert len(set(alone.values())) == 3000
    assert nat_prefixes(reversed(networks)) == alone
    taken = Network(
        name="taken", subnets=(Subnet(prefix=str(ipaddress.IPv4Network(alone["n7"]).supernet(new_prefix=24))),)
    )
    moved = nat_prefixes([*networks, taken])
    assert not ipaddress.IPv4Network(moved["n7"]).overlaps(ipaddress.IPv4Network(taken.subnets[0].prefix))


def test_slots_stay() -> None:
    disks = tuple(Disk(name=name, size=GIB) for name in "abc")
    before = settle(Desired(), desired(Guest(name="g", disks=disks, nics=(Nic(port="p"),))))
    assert settle(before, before) is before
    fewer = desired(Guest(name="g", disks=(disks[0], disks[2], Disk(name="d", size=GIB)), nics=(Nic(port="p"),)))
    after = settle(before, fewer).guests["g"]
    slots = {disk.name: disk.slot for disk in after.disks}
    assert slots == {"a": 0, "c": 2, "d": 4}
    assert after.nics[0].slot == 3
    # What a definition says itself is taken as it is.
    fixed = desired(Guest(name="g", disks=(replace(disks[0], slot=9), replace(disks[1]))))
    assert [disk.slot for disk in settle(before, fixed).guests["g"].disks] == [9, 1]


def test_slots_do_not_run_away() -> None:
    state = Desired()
    for turn in range(5):
        disks = tuple(Disk(name=f"d{turn}-{number}", size=GIB) for number in range(20))
        state = settle(state, desired(Guest(name="g", disks=disks)))
        slots = {disk.slot for disk in state.guests["g"].disks}
        assert len(slots) == 20
        assert max(slot for slot in slots if slot is not None) < 44


def test_digests_tell_specifications_apart() -> None:
    guest = Guest(name="a", disks=(Disk(name="d", size=GIB, slot=0),))
    one = guest_spec(guest, (), ())
    assert guest_spec(replace(guest, description="words"), (), ()) == one
    assert guest_spec(replace(guest, memory=GIB), (), ()).digest != one.digest
    long = guest_spec(replace(guest, disks=(Disk(name="d" * 40, size=GIB, slot=0),)), (), ())
    assert len(long.disks[0].serial) == 20


def test_boot_order_without_end() -> None:
    chain = {f"g{i}": Guest(name=f"g{i}", boot=Boot(after=(f"g{i + 1}",))) for i in range(5000)}
    chain["g5000"] = Guest(name="g5000")
    assert BootOrder(chain).wave("g0") == (100, 5000)
    # A cycle is the model's to refuse; here it must only end.
    ring = {name: Guest(name=name, boot=Boot(after=(other,))) for name, other in ("ab", "ba")}
    assert BootOrder(ring).wave("a") == (100, 1)


@pytest.mark.parametrize(
    ("size", "text"), [(1, "1 B"), (GIB, "1 GiB"), (3 * GIB // 2, "1.5 GiB"), (1 << 55, "32768 TiB")]
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_a_plan_as_text() -> None:
    world = World()
    text = plan_text(world.plan(small_site()))
    assert "network lan\n  + define network lan\n  + create network lan, isolated\n" in text
    assert "  + create disk files/data, 2 GiB, thin\n" in text
    assert "  > start guest files\n" in text
    assert plan_text(World().plan(Desired())) == "nothing to change\n"
    world.apply(small_site())
    gone = plan_text(world.plan(without(small_site(), "files", "files.lan")))
    assert "  - move guest files with its disks to the trash\n" in gone
    refused = plan_text(world.plan(changed(small_site(), Guest(name="a", memory=1 << 50))))
    assert refused.startswith("refused: guest a: memory 1024 TiB is more")
    assert refused.endswith("nothing is changed: the plan is refused\n")


@pytest.mark.parametrize("name", ["laptop", "branch-office"])
def test_the_examples_plan_and_apply_on_a_simulated_host(name: str) -> None:
    file = EXAMPLES / name / "site.toml"
    site = parse_site(file.read_text(), str(file))
    uplinks = tuple(site.host_part.uplinks)
    world = World(host=SimHost(uplinks=uplinks, management=uplinks[:1], pci_devices=_devices(site.desired)))
    made = world.apply(site.desired)
    assert made.confirm == any(network.uplink in uplinks[:1] for network in site.desired.networks.values())
    running = {guest.name for guest in observe(world.host).guests if guest.state == "running"}
    assert running == {guest.name for guest in site.desired.guests.values() if guest.power == "on"}
    assert world.plan(site.desired).steps == ()


def _devices(state: Desired) -> tuple[str, ...]:
    return tuple(address for guest in state.guests.values() for address in guest.passthrough)


def test_facts_of_a_simulated_host() -> None:
    facts = SimHost(hostname="hive", missing={"vlan": "why"}).facts()
    assert isinstance(facts, HostFacts)
    assert (facts.platform, facts.hostname, facts.missing) == ("sim", "hive", {"vlan": "why"})


def test_the_cache_is_bounded_by_what_there_is() -> None:
    world = World()
    for number in range(20):
        name = f"g{number}"
        guest = Guest(name=name, nics=(Nic(port=f"{name}.n"),), cloud_init=CloudInit())
        world.apply(desired(Network(name="n"), Port(name=f"{name}.n", network="n"), guest))
    world.apply(Desired())
    assert {name for _, name in world.cache._entries} <= {""}
