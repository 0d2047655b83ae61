"""QEMU's command line: a golden text for a guest with everything, and rules that hold for every guest."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skep_helper.linux.qemu import command, slots
from skep_helper.linux.qemu.command import Machine, Source
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
    seed=True, local_clock=True, secure_boot=True, passthrough=("0000:03:00.0",),
)  # fmt: skip
DISKS = {
    "system": Source("qcow2", "raw"), "data": Source("raw"), "old": Source("qcow2", "qcow2"), "many": Source("qcow2"),
}  # fmt: skip
MEDIA = {2: Source("raw")}


def machine(spec: GuestSpec, accelerator: str = "tcg") -> Machine:
    disks = {disk.disk: DISKS.get(disk.disk, Source("qcow2")) for disk in spec.disks}
    media = {medium.slot: MEDIA[medium.slot] for medium in spec.media if medium.slot in MEDIA}
    numbers = {key: 3 + index for index, key in enumerate(command.keys(spec, disks, media))}
    return Machine(qemu="qemu", accelerator=accelerator, disks=disks, media=media, numbers=numbers)


def lines(argv: list[str]) -> str:
    out: list[str] = []
    for word in argv:
        if word.startswith("-") or not out:
            out.append(word)
        else:
            out[-1] += f" {word}"
    return "\n".join(out) + "\n"


@pytest.mark.parametrize("accelerator", ["tcg", "kvm"])
def test_golden(accelerator: str) -> None:
    text = lines(command.render(FULL, machine(FULL, accelerator)))
    path = GOLDEN / f"full-{accelerator}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_keys_are_in_the_order_of_descriptors() -> None:
    assert command.keys(FULL, DISKS, MEDIA) == [
        "qmp", "code", "vars", "disk:system", "base:system", "disk:data", "disk:old", "base:old", "disk:many",
        "media:2", "seed", "agent", "nic:files.lan", "nic:files.wan",
    ]  # fmt: skip


def test_no_file_is_opened_by_name() -> None:
    argv = command.render(FULL, machine(FULL))
    for block in (json.loads(value) for option, value in itertools.pairwise(argv) if option == "-blockdev"):
        assert block["file"]["filename"].startswith("/dev/fdset/")
    assert not [word for word in argv if word.startswith("/")]


def test_volumes_are_block_devices() -> None:
    volume = Source("raw", device=True)
    sources = {name: volume for name in DISKS}
    keys = command.keys(FULL, sources, {2: volume})
    numbers = {key: 3 + index for index, key in enumerate(keys)}
    made = Machine(qemu="qemu", accelerator="tcg", disks=sources, media={2: volume}, numbers=numbers)
    argv = command.render(FULL, made)
    blocks = [json.loads(value) for option, value in itertools.pairwise(argv) if option == "-blockdev"]
    drivers = {block["node-name"]: block["file"]["driver"] for block in blocks}
    assert {name for name, driver in drivers.items() if driver == "host_device"} == {
        "disk-0", "disk-3", "disk-6", "disk-21", "media-2"
    }  # fmt: skip
    assert drivers["vars"] == drivers["seed"] == "file"


def test_readable_copy_has_paths() -> None:
    made = machine(FULL)
    paths = {number: f"/x/{key}" for key, number in made.numbers.items()}
    text = command.describe(command.render(FULL, made), paths)
    assert "fdset" not in text
    assert "fd=" not in text
    assert '"filename": "/x/disk:system"' in text
    assert "path=/x/qmp" in text
    assert "ifname=/x/nic:files.lan,script=no" in text


def addresses(spec: GuestSpec) -> dict[str, tuple[str, str]]:
    argv = command.render(spec, machine(spec))
    devices = [json.loads(value) for option, value in itertools.pairwise(argv) if option == "-device"]
    return {item["id"]: (item["bus"], item.get("addr", "")) for item in devices if "id" in item}


device = st.tuples(st.sampled_from(["virtio", "ahci", "nvme", "nic"]), st.integers(0, slots.SLOTS - 1))


@settings(deadline=None)
@given(st.lists(device, max_size=12, unique_by=lambda item: item[1]), st.integers(0, 11))
def test_adding_a_device_moves_no_other_and_nothing_collides(devices: list[tuple[str, int]], more: int) -> None:
    def spec(chosen: list[tuple[str, int]]) -> GuestSpec:
        disks = tuple(DiskDevice(disk=f"d{slot}", slot=slot, model=kind) for kind, slot in chosen if kind != "nic")
        nics = tuple(
            NicDevice(port=f"g.n{slot}", slot=slot, mac="52:54:00:00:00:01") for kind, slot in chosen if kind == "nic"
        )
        return GuestSpec(name="g", digest="0" * 16, memory=1 << 28, disks=disks, nics=nics)

    everything = addresses(spec(devices))
    places = [place for name, place in everything.items() if place[1]]
    assert len(set(places)) == len(places)
    before = addresses(spec(devices[:more]))
    assert {name: everything[name] for name in before} == before


def test_slots_that_are_not_there() -> None:
    with pytest.raises(Rejected, match="slots 0 to 43"):
        slots.place(44)
    with pytest.raises(Rejected, match="two devices have slot 1"):
        command.used_slots(
            GuestSpec(
                name="g", digest="0" * 16, memory=1 << 28,
                disks=(DiskDevice(disk="a", slot=1), DiskDevice(disk="b", slot=1)),
            )
        )  # fmt: skip


def test_a_tpm_is_a_connection_and_no_name() -> None:
    with_tpm = GuestSpec(name="t", digest="0123456789abcdef", memory=1 << 30, tpm=True)
    where = machine(with_tpm)
    argv = command.render(with_tpm, where)
    number = where.numbers["tpm"]
    at = argv.index(f"socket,id=tpm,fd={number}")
    assert argv[at - 1 : at + 5] == [
        "-chardev", f"socket,id=tpm,fd={number}", "-tpmdev", "emulator,id=tpm,chardev=tpm",
        "-device", '{"driver": "tpm-crb", "tpmdev": "tpm"}',
    ]  # fmt: skip
    by_hand = command.describe(argv, {other: f"/x/{key}" for key, other in where.numbers.items()})
    assert "socket,id=tpm,path=/x/tpm" in by_hand
    assert not any("tpm" in word for word in command.render(FULL, machine(FULL)))
