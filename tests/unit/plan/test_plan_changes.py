"""What a change of the definitions becomes: steps, their order, notes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planning import GIB, MIB, World, changed, comparable, desired, observe, router_between, small_site, without
from skep_helper import vocabulary as v
from skepd.model.desired import Desired
from skepd.model.objects import Boot, Disk, Gate, Guest, Image, Network, Nic, Port, Rule
from skepd.plan.steps import Plan, PullImage


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def up(world: World) -> World:
    world.apply(small_site())
    return world


def requests(plan: Plan, kind: type) -> list[object]:
    return [request for step in plan.steps for request in step.requests if isinstance(request, kind)]


def summaries(plan: Plan) -> list[str]:
    return [step.summary for step in plan.steps]


def notes(plan: Plan) -> str:
    return "\n".join(note.text for note in plan.notes)


def refused(plan: Plan) -> str:
    assert plan.steps == ()
    return "\n".join(note.text for note in plan.notes if note.refuses)


def test_from_nothing_to_a_site(world: World) -> None:
    made = world.apply(small_site())
    assert isinstance(made.steps[0].work, PullImage)
    assert [r.guest.name for r in requests(made, v.StartGuest)] == ["gateway", "files"]
    seen = observe(world.host)
    assert {guest.name: guest.state for guest in seen.guests} == {"gateway": "running", "files": "running"}
    assert {disk.disk: disk.size for disk in seen.folder_of["files"].disks} == {"system": GIB, "data": 2 * GIB}
    assert seen.group_of == {("lan", "peers"): ("10.2.0.20/32",)}


def test_twice_changes_nothing(up: World) -> None:
    assert up.plan() == Plan()
    # Also with the definitions as they are written in site.toml, without slots.
    assert up.plan(small_site()) == Plan()


def test_independent_steps_share_a_stage(world: World) -> None:
    made = world.plan(small_site())
    stage = {step.summary: step.stage for step in made.steps}
    assert stage["create network lan, isolated"] == stage["create network wan, nat"]
    assert stage["create the folder of guest files"] < stage["define guest files"]
    assert stage["create network lan, isolated"] < stage["create port files.lan in network lan, 10.2.0.20"]
    assert stage["start guest gateway"] < stage["start guest files"]


def test_a_rule_touches_its_ports_and_nothing_else(up: World) -> None:
    site = small_site()
    web = replace(site.filters["web"], rules=(Rule(direction="in", protocol="tcp", ports="443"),))
    made = up.plan(changed(site, web))
    assert summaries(made) == [
        "change the definition of filter web",
        "change the rules of port files.lan",
        "change the rules of port gateway.wan",
    ]
    up.carry_out(made)
    assert up.plan() == Plan()


def test_a_new_member_of_a_group_touches_no_other_port(up: World) -> None:
    site = small_site()
    port = Port(name="peer.lan", network="lan", guest="peer", addresses=("10.2.0.21",), filters=("peers",))
    made = up.apply(changed(site, port, Guest(name="peer", nics=(Nic(port="peer.lan"),))))
    assert [r.port.name for r in requests(made, v.ApplyPort)] == ["peer.lan"]
    # The two addresses are neighbours, and stand as one prefix.
    assert observe(up.host).group_of == {("lan", "peers"): ("10.2.0.20/31",)}
    up.apply(site)
    assert observe(up.host).group_of == {("lan", "peers"): ("10.2.0.20/32",)}


def test_a_group_no_rule_names_is_cleared_after_the_ports(up: World) -> None:
    site = small_site()
    made = up.apply(changed(site, replace(site.filters["peers"], rules=())))
    stages = {type(step.requests[0]): step.stage for step in made.steps if step.requests}
    assert stages[v.ApplyPort] < stages[v.SetGroup]
    assert observe(up.host).group_of == {}


def test_memory_of_a_running_guest_waits_for_a_restart(up: World) -> None:
    site = small_site()
    after = changed(site, replace(site.guests["files"], memory=GIB))
    made = up.apply(after)
    assert summaries(made) == ["change the definition of guest files"]
    assert "restart of guest files pending" in notes(made)
    assert "restart of guest files pending" in notes(up.plan())
    made = up.plan(restart=True)
    assert summaries(made) == [
        "stop guest files",
        "start guest files",
        "wait until guest files is up (it had its time)",
    ]
    up.carry_out(made)
    assert up.plan() == Plan()


def test_restart_of_named_guests_only(up: World) -> None:
    site = small_site()
    more = [replace(guest, memory=GIB) for guest in site.guests.values()]
    made = up.apply(changed(site, *more), restart_guests=frozenset({"files"}))
    assert [r.guest for r in requests(made, v.StopGuest)] == ["files"]


def test_a_disk_grows_while_the_guest_runs(up: World) -> None:
    site = small_site()
    files = site.guests["files"]
    larger = replace(files, disks=(files.disks[0], replace(files.disks[1], size=3 * GIB)))
    made = up.apply(changed(site, larger))
    assert "grow disk files/data from 2 GiB to 3 GiB" in summaries(made)
    assert up.plan() == Plan()


def test_a_disk_never_shrinks(up: World) -> None:
    site = small_site()
    files = site.guests["files"]
    smaller = replace(files, disks=(files.disks[0], replace(files.disks[1], size=GIB)))
    assert "never shrinks" in refused(up.plan(changed(site, smaller)))


def test_a_growth_that_was_undone_leaves_a_note_only(up: World) -> None:
    up.host.perform([v.GrowDisk(guest="files", disk="data", size=3 * GIB)])
    made = up.plan()
    assert made.steps == ()
    assert "never shrinks" in notes(made)
    assert not made.notes[0].refuses


def test_another_image_version_makes_no_disk_anew(up: World) -> None:
    site = small_site()
    made = up.apply(changed(site, replace(site.images["small"], version="2")))
    assert summaries(made) == ["pull image small:2", "change the definition of image small"]
    assert "image small:1 stays: disk files/system uses it" in notes(made)
    assert up.plan() == Plan()


def test_deleting_a_guest_ends_with_the_trash(up: World) -> None:
    made = up.apply(without(small_site(), "files", "files.lan"))
    words = summaries(made)
    assert words.index("stop guest files") < words.index("remove port files.lan from network lan")
    assert words[-2:] == ["move guest files with its disks to the trash", "empty the trash of guest files (for good)"]
    assert made.steps[-1].undo is None
    assert all(step.undo is not None for step in made.steps[:-1])
    seen = observe(up.host)
    assert "files" not in seen.folder_of
    assert seen.storage.trash == ()
    assert up.plan() == Plan()


def test_deleting_everything(up: World) -> None:
    made = up.apply(Desired())
    assert summaries(made)[-1] == "remove image small:1"
    assert comparable(observe(up.host)) == comparable(observe(World().host))
    assert up.texts == {}
    assert observe(up.host).storage.images == ()


def test_what_goes_lets_go_before_what_comes_takes(world: World) -> None:
    world.host = type(world.host)(uplinks=("eth0",))
    old = Network(name="old", kind="vlan", uplink="eth0", vlan=10)
    world.apply(desired(old, Port(name="a.old", network="old", guest="a"), Guest(name="a", nics=(Nic(port="a.old"),))))
    new = replace(old, name="new")
    world.apply(desired(new, Port(name="b.new", network="new", guest="b"), Guest(name="b", nics=(Nic(port="b.new"),))))
    assert [network.name for network in observe(world.host).networks.networks] == ["new"]


def test_a_router_that_loses_a_leg_lets_the_network_go(world: World) -> None:
    a, b, c = (Network(name=name) for name in "abc")
    world.apply(desired(a, b, router_between("r", "a", "b")))
    world.apply(desired(b, c, router_between("r", "b", "c")))
    assert [network.name for network in observe(world.host).networks.networks] == ["b", "c"]
    assert world.plan() == Plan()


def test_a_port_moves_to_another_network(up: World) -> None:
    site = small_site()
    moved = replace(site.ports["files.lan"], network="wan", addresses=("10.1.0.20",))
    made = up.apply(changed(site, moved))
    assert "take port files.lan out of network lan" in summaries(made)
    assert "restart of guest files pending: a port of it was made anew" in notes(made)
    assert observe(up.host).port_of["files.lan"].network == "wan"


def test_a_disk_of_a_running_guest_is_not_pulled_away(up: World) -> None:
    site = small_site()
    after = changed(site, replace(site.guests["files"], disks=site.guests["files"].disks[:1]))
    assert "cannot be removed while the guest runs" in refused(up.plan(after))
    up.apply(after, restart=True)
    assert [disk.disk for disk in observe(up.host).folder_of["files"].disks] == ["system"]
    assert up.plan() == Plan()


def test_power_off_and_on(up: World) -> None:
    site = small_site()
    off = changed(site, *(replace(guest, power="off") for guest in site.guests.values()))
    made = up.apply(off)
    assert [r.guest for r in requests(made, v.StopGuest)] == ["files", "gateway"]
    assert up.plan() == Plan()
    made = up.apply(site)
    assert [r.guest.name for r in requests(made, v.StartGuest)] == ["gateway", "files"]


def test_a_guest_that_powered_itself_off_stays_off(up: World) -> None:
    up.host.power_off("files")
    made = up.plan()
    assert made.steps == ()
    assert "guest files powered itself off and stays off" in notes(made)
    assert requests(up.plan(start=frozenset({"files"})), v.StartGuest)


def test_a_crashed_guest_is_started_when_asked_for(up: World) -> None:
    up.host.crash("files", "triple-fault")
    assert "ended (triple-fault)" in notes(up.plan())
    assert requests(up.plan(start_stopped=True), v.StartGuest)


def test_after_a_power_loss_the_site_comes_back(up: World) -> None:
    before = comparable(observe(up.host))
    up.host.lose_power()
    up.carry_out(up.plan())
    assert comparable(observe(up.host)) == before


def test_no_autostart(world: World) -> None:
    world.apply(desired(Guest(name="a", autostart=False)))
    world.host.lose_power()
    assert "no autostart" in notes(world.plan())
    assert world.plan().steps == ()


def test_foreign_objects_are_left_alone(up: World) -> None:
    up.host.perform([v.CreateGuestFolder(guest="stranger")])
    up.host.perform([v.CreateDisk(guest="files", disk="strange", size=GIB)])
    made = up.plan()
    assert made.steps == ()
    assert "folder of guest stranger is on the host but in no definition: left alone" in notes(made)
    assert "disk files/strange is on the host but in no definition: left alone" in notes(made)
    assert "in no definition" in refused(up.plan(changed(small_site(), Guest(name="stranger"))))
    up.apply(changed(small_site(), Guest(name="stranger")), adopt=frozenset({"stranger"}))


def test_a_lost_disk_keeps_its_guest_down_and_no_other(up: World) -> None:
    up.host.lose_power()
    up.host.storage.folders["files"].disks.pop("data")
    made = up.plan()
    assert [r.guest.name for r in requests(made, v.StartGuest)] == ["gateway"]
    assert "disk files/data is defined but gone" in notes(made)
    up.carry_out(up.plan(recreate=frozenset({"files"})))
    assert up.plan() == Plan()


def test_a_damaged_network_is_repaired(up: World) -> None:
    up.host.network.damaged["lan"] = "dnsmasq does not run"
    made = up.plan()
    assert summaries(made) == ["repair network lan: dnsmasq does not run"]
    up.carry_out(made)
    assert up.plan() == Plan()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Guest(name="a", memory=1 << 50), "more than the host has"),
        (Guest(name="a", passthrough=("0000:01:00.0",)), "no PCI device 0000:01:00.0"),
        (Guest(name="a", tpm=True), "install swtpm"),
        (Guest(name="a", disks=(Disk(name="d", image="none:1"),)), "image none:1 is not on this host"),
        (Guest(name="a", disks=(Disk(name="d", image="none"),)), 'no image "none" is defined'),
        (Guest(name="a", disks=(Disk(name="d", image="big:1", size=GIB),)), "smaller than image big"),
        (Guest(name="a", disks=(Disk(name="d"),)), "needs a size or an image"),
        (Guest(name="a", nics=(Nic(port="none"),)), 'no port "none" is defined'),
        (Guest(name="a", nics=(Nic(port="none"),), power="off"), 'no port "none" is defined'),
        (Guest(name="a", boot=Boot(gate=Gate(kind="ping"))), "no fixed address for its ping gate"),
        (Network(name="a", kind="vlan", uplink="eth0", vlan=10), "no 8021q"),
        (Network(name="a", kind="flat", uplink="eth9"), "uplink eth9 is not one that"),
        (Port(name="a", network="none"), 'no network "none" is defined'),
        (Port(name="a", network="lan", filters=("none",)), 'no filter "none" is defined'),
        (router_between("a", "none"), 'no network "none" is defined for a leg'),
        (Image(name="a", version="1"), "give its definition sources"),
    ],
)
def test_refusals(value: object, text: str) -> None:
    world = World()
    world.host = type(world.host)(uplinks=("eth0",), missing={"swtpm": "install swtpm", "vlan": "no 8021q here"})
    world.host.add_image("big", "1", 2 * GIB)
    assert text in refused(world.plan(changed(small_site(), value)))


def test_a_broken_network_does_not_keep_others_down_at_boot() -> None:
    world = World()
    world.host = type(world.host)(uplinks=("eth0",))
    wire = Network(name="wire", kind="vlan", uplink="eth0", vlan=10)
    a = Guest(name="a", nics=(Nic(port="a.wire"),))
    world.apply(desired(wire, Port(name="a.wire", network="wire", guest="a"), a, Guest(name="b")))
    world.host.lose_power()
    world.host._missing["vlan"] = "no 8021q here"
    made = world.plan()
    assert [r.guest.name for r in requests(made, v.StartGuest)] == ["b"]
    assert "guest a is left as it is: port a.wire has a problem" in notes(made)


def test_a_management_uplink_asks_for_confirmation() -> None:
    world = World()
    world.host = type(world.host)(uplinks=("eth0", "eth1"), management=("eth0",))
    flat = Network(name="flat", kind="flat", uplink="eth1")
    assert not world.plan(desired(flat)).confirm
    assert world.plan(desired(replace(flat, uplink="eth0"))).confirm
    world.apply(desired(replace(flat, uplink="eth0")))
    assert world.plan(Desired()).confirm


def test_boot_waits_for_what_comes_after(world: World) -> None:
    site = desired(
        Guest(name="dns", boot=Boot(order=50)),
        Guest(name="web", boot=Boot(order=1, after=("db",))),
        Guest(name="db", boot=Boot(order=1, after=("dns",))),
        Guest(name="log", boot=Boot(order=1)),
    )
    made = world.apply(site)
    assert [r.guest.name for r in requests(made, v.StartGuest)] == ["log", "dns", "db", "web"]
    made = world.apply(Desired())
    assert [r.guest for r in requests(made, v.StopGuest)] == ["web", "db", "dns", "log"]


def test_a_device_keeps_its_slot(up: World) -> None:
    site = small_site()
    files = site.guests["files"]
    slots = {disk.name: disk.slot for disk in up.stored.guests["files"].disks}
    more = replace(files, disks=(Disk(name="first", size=MIB), *files.disks), power="off")
    up.apply(changed(site, more))
    now = {disk.name: disk.slot for disk in up.stored.guests["files"].disks}
    assert {name: now[name] for name in slots} == slots
    fewer = replace(more, disks=(more.disks[0], more.disks[2]))
    up.apply(changed(site, fewer))
    then = {disk.name: disk.slot for disk in up.stored.guests["files"].disks}
    assert then == {name: now[name] for name in ("first", "data")}


def test_a_network_waits_for_the_wire_that_another_lets_go(world: World) -> None:
    world.host = type(world.host)(uplinks=("eth0",))
    wires = [Network(name=name, kind="vlan", uplink="eth0", vlan=vlan) for name, vlan in (("a", 10), ("b", 11))]
    world.apply(desired(*wires))
    a, b = wires
    world.apply(desired(replace(a, vlan=11), replace(b, vlan=12), replace(a, name="c")))
    assert {name: spec.vlan for name, spec in world.host.network.networks.items()} == {"a": 11, "b": 12, "c": 10}
    ring = world.plan(desired(replace(a, vlan=12), replace(b, vlan=11), replace(a, name="c")))
    assert "change one after the other" in refused(ring)


def test_letting_go_of_a_management_uplink_asks_for_confirmation(world: World) -> None:
    world.host = type(world.host)(uplinks=("eth0", "eth1"), management=("eth0",))
    flat = Network(name="flat", kind="flat", uplink="eth0")
    world.apply(desired(flat))
    assert world.plan(desired(replace(flat, uplink="eth1"))).confirm


def test_blank_volumes_have_blocks_by_profile(world: World) -> None:
    disks = (Disk(name="data", size=GIB, format="zvol"), Disk(name="copy", image="small", format="zvol"))
    site = [
        Guest(name=profile, profile=profile, power="off", disks=disks) for profile in ("freebsd", "linux", "windows")
    ]
    made = world.plan(desired(Image(name="small", version="1", sources=("http://127.0.0.1:8000/",)), *site))
    blocks = {(r.guest, r.disk): r.block for r in requests(made, v.CreateDisk)}  # type: ignore[attr-defined]
    assert {key: block for key, block in blocks.items() if key[1] == "data"} == {
        ("freebsd", "data"): 32 << 10, ("linux", "data"): 16 << 10, ("windows", "data"): 16 << 10,
    }  # fmt: skip
    # A clone has its image's.
    assert {block for key, block in blocks.items() if key[1] == "copy"} == {None}
