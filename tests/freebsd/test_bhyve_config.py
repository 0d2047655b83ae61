"""bhyve's configuration: golden texts, what the recordings say of each variable, and rules that hold for any guest."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from bhyve_reading import devices, guest, parse
from bhyve_transcripts import blocks
from hypothesis import given, settings
from hypothesis import strategies as st
from skep_helper.freebsd.bhyve import config, slots, syntax
from skep_helper.freebsd.bhyve.config import Machine
from skep_helper.vocabulary import Rejected
from skep_helper.vocabulary.guest import Cpus, DiskDevice, GuestSpec, MediaDevice, NicDevice

GOLDEN = Path(__file__).parent / "golden"
FULL = GuestSpec(
    name="files", digest="0123456789abcdef", memory=2 << 30, cpus=Cpus(sockets=1, cores=2, threads=2),
    disks=(
        DiskDevice(disk="system", slot=0),
        DiskDevice(disk="data", slot=3, model="nvme", serial="S1", discard=False),
        DiskDevice(disk="old", slot=6, model="ahci"),
        DiskDevice(disk="many", slot=21),
    ),
    nics=(NicDevice(port="files.lan", slot=1, mac="52:54:00:00:00:01"),
          NicDevice(port="files.wan", slot=4, mac="52:54:00:00:00:02", model="e1000")),
    media=(MediaDevice(image="cd", version="1", slot=2), MediaDevice(image="out", version="1", slot=5)),
    seed=True, passthrough=("0000:03:00.1",),
)  # fmt: skip


def machine(spec: GuestSpec, detached: tuple[int, ...] = ()) -> Machine:
    paths = {key: f"/fd/{4 + index}" for index, key in enumerate(config.keys(spec, detached))}
    taps = {nic.port: f"tap{1000 + index}" for index, nic in enumerate(spec.nics)}
    return Machine(
        vm=f"skep.{spec.name}", paths=paths, line=f"/dev/nmdmskep.{spec.name}.A", taps=taps, agent="/run/agent.sock",
        password="abcdefgh",
    )  # fmt: skip


def render(spec: GuestSpec, detached: tuple[int, ...] = ()) -> str:
    return syntax.render(config.settings(spec, machine(spec, detached)))


@pytest.mark.parametrize("profile", ["freebsd", "openbsd", "linux", "windows"])
def test_golden(profile: str) -> None:
    options = {**{name: getattr(FULL, name) for name in FULL.__dataclass_fields__}, "profile": profile}
    if profile == "windows":
        options["local_clock"] = True
    text = render(GuestSpec(**options), detached=(5,))
    path = GOLDEN / f"bhyve-{profile}.conf"
    if os.environ.get("WRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def recorded_variables() -> set[str]:
    """What bhyve 13.2 itself makes of its options (config.dump), places and numbers left out; and what it was seen to
    read from a configuration file."""
    found = set()
    for block in blocks("12-bhyve-config.txt"):
        found |= {line.partition("=")[0] for line in block.stdout.splitlines() if "=" in line}
    return {general(name) for name in found}


def general(name: str) -> str:
    return re.sub(r"\.\d+", ".N", name)


def test_no_variable_is_of_our_own_making() -> None:
    """bhyve takes a wrong name without a word. Those not in the recordings, and where bhyve 13.2 reads them."""
    source = {
        "lpc.bootvars",  # recorded in 16
        "memory.wired", "x86.vmexit_on_pause",
        "pci.N.N.N.rfb",  # fbuf: preferred to tcp
        "pci.N.N.N.ser", "pci.N.N.N.port.N.ser",  # virtio-blk and ahci: "serial" is not read by ahci
        "pci.N.N.N.nodelete", "pci.N.N.N.ro", "pci.N.N.N.port.N.sectorsize", "pci.N.N.N.vga",
    }  # fmt: skip
    for profile in ("openbsd", "windows"):
        options = {**{name: getattr(FULL, name) for name in FULL.__dataclass_fields__}, "profile": profile}
        used = {general(name) for name in parse(render(GuestSpec(**options)))}
        assert used - recorded_variables() - source == set()


def test_device_models_are_in_this_release() -> None:
    listed = next(
        block for block in blocks("12-bhyve-config.txt") if "uuid=" in block.stdout and "fbuf" in block.stdout
    )
    models = set(re.findall(r"\.device=(\S+)", "".join(block.stdout for block in blocks("12-bhyve-config.txt"))))
    assert listed.exit == 1
    assert {options["device"] for options in devices(parse(render(FULL))).values()} <= models


def test_files_in_the_order_of_descriptors() -> None:
    expected = ["code", "vars", "disk:system", "disk:data", "disk:old", "disk:many", "media:2", "media:5", "seed"]
    assert config.keys(FULL) == expected
    assert config.keys(FULL, (5,)) == [key for key in expected if key != "media:5"]


def test_a_detached_medium_leaves_its_drive() -> None:
    before, after = devices(parse(render(FULL))), devices(parse(render(FULL, (5,))))
    assert before.keys() == after.keys()
    assert after["9.0"] == {"device": "ahci"}


@pytest.mark.parametrize(
    "value",
    ["", " x", "x ", "a\nb", "a\r", "100%", "%(name)", "a\\b", "\ttab", "caf\xe9", "x" * 2000],
)  # fmt: skip
def test_values_that_bhyve_misreads(value: str) -> None:
    with pytest.raises(Rejected, match="bhyve would misread"):
        syntax.render({"name": value})


@pytest.mark.parametrize("key", ["", "a b", "a=b", "a..b", ".a", "a.", "#a", "a\n"])
def test_keys_that_bhyve_misreads(key: str) -> None:
    with pytest.raises(Rejected):
        syntax.render({key: "1"})


def test_a_value_on_a_node() -> None:
    with pytest.raises(Rejected, match="memory has a value"):
        syntax.render({"memory": "64M", "memory.size": "64M"})


def test_remarks_are_comments() -> None:
    assert parse(syntax.render({"name": "x"}, "one\ntwo=3")) == {"name": "x"}


def spec(**options: object) -> GuestSpec:
    base: dict[str, object] = {"name": "g", "digest": "0" * 16, "memory": 1 << 28}
    return GuestSpec(**{**base, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"disks": (DiskDevice(disk="a", slot=44),)}, "slots 0 to 43"),
        ({"disks": (DiskDevice(disk="a", slot=1), DiskDevice(disk="b", slot=1))}, "two devices have slot 1"),
        ({"disks": (DiskDevice(disk="a", slot=1), DiskDevice(disk="a", slot=2))}, "disk a is there twice"),
        ({"memory": (1 << 28) + 1}, "whole MiB"),
        ({"cpus": Cpus(cores=0)}, "at least 1"),
        ({"passthrough": ("0001:00:02.0",)}, "domain 0000"),
        ({"passthrough": tuple(f"0000:00:{slot:02x}.0" for slot in range(9))}, "8 passed-through"),
        ({"passthrough": ("0000:00:02.0",) * 2}, "is there twice"),
    ],
)
def test_what_bhyve_would_accept_in_silence(options: dict[str, object], words: str) -> None:
    with pytest.raises(Rejected, match=words):
        config.check(spec(**options))


kinds = st.sampled_from(["virtio", "ahci", "nvme", "nic", "e1000", "cd"])
chosen = st.lists(st.tuples(kinds, st.integers(0, slots.SLOTS - 1)), max_size=14, unique_by=lambda item: item[1])


def build(items: list[tuple[str, int]], **options: object) -> GuestSpec:
    mac, nics = "52:54:00:00:00:{:02x}", {"nic": "virtio", "e1000": "e1000"}
    return spec(
        disks=tuple(
            DiskDevice(disk=f"d{slot}", slot=slot, model=kind, serial=f"s{slot}", discard=bool(slot % 2))
            for kind, slot in sorted(items, key=lambda item: item[1]) if kind in ("virtio", "ahci", "nvme")
        ),
        nics=tuple(
            NicDevice(port=f"g.n{slot}", slot=slot, mac=mac.format(slot), model=nics[kind])
            for kind, slot in sorted(items, key=lambda item: item[1]) if kind in nics
        ),
        media=tuple(
            MediaDevice(image=f"i{slot}", version="1", slot=slot)
            for kind, slot in sorted(items, key=lambda item: item[1]) if kind == "cd"
        ),
        **options,
    )  # fmt: skip


@settings(deadline=None)
@given(
    chosen,
    st.builds(Cpus, sockets=st.integers(1, 4), cores=st.integers(1, 8), threads=st.integers(1, 2)),
    st.integers(16, 1 << 20),
    st.sampled_from(["freebsd", "openbsd", "linux", "windows"]),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.integers(0, 8),
)
def test_it_reads_back_as_the_same_guest(
    items: list[tuple[str, int]], cpus: Cpus, memory: int, profile: str, flags: list[bool], through: int
) -> None:
    seed, screen, agent, local_clock = flags
    made = build(
        items, cpus=cpus, memory=memory << 20, profile=profile, seed=seed, screen=screen, agent=agent,
        local_clock=local_clock, passthrough=tuple(f"0000:{0x20 + index:02x}:1f.7" for index in range(through)),
    )  # fmt: skip
    where = machine(made)
    media = {f"media:{medium.slot}": f"{medium.image}:{medium.version}" for medium in made.media}
    names = {path: media.get(key, key.removeprefix("disk:")) for key, path in where.paths.items()}
    ports = {device: port for port, device in where.taps.items()}
    assert guest(parse(render(made)), names, ports, made) == made


@settings(deadline=None)
@given(chosen, st.integers(0, 14))
def test_adding_a_device_moves_no_other_and_nothing_collides(items: list[tuple[str, int]], more: int) -> None:
    before, after = (devices(parse(render(build(part)))) for part in (items[:more], items))
    for place, options in before.items():
        placeholder = options == {"device": "hostbridge"} and place != "0.0"
        assert placeholder or after[place]["device"] == options["device"]
    wanted = 4 + 3 + len(items)  # bridge, random, lpc, and a screen's two; the agent
    real = [place for place, options in after.items() if options != {"device": "hostbridge"} or place == "0.0"]
    assert len(real) == wanted - 1
    for place in after:
        assert slots.placeholder(place) in after, "a guest does not see a device without function 0"


def test_slots_have_their_place_for_ever() -> None:
    assert [slots.place(slot) for slot in (0, 1, 19, 20, 27, 28, 43)] == [
        "4.0", "5.0", "23.0", "24.0", "24.7", "25.0", "26.7",
    ]  # fmt: skip
    places = [slots.place(slot) for slot in range(slots.SLOTS)]
    assert len(set(places)) == slots.SLOTS
    with pytest.raises(Rejected):
        slots.place(slots.SLOTS)


def test_the_uuid_stays() -> None:
    assert config.uuid("files") == config.uuid("files") != config.uuid("filed")
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}", config.uuid("files"))
