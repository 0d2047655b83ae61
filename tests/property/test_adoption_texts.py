"""vm-bhyve's configurations are anybody's text: the conversion never fails, and what it lets through is sound."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from skep_helper.vocabulary import VmBhyveDisk, VmBhyveGuest, VmBhyveReading
from skepd.adoption.adoption import examine
from skepd.adoption.guests import Choices
from skepd.adoption.keys import KNOWN
from skepd.model.checks import check
from skepd.model.definitions import validate
from skepd.model.desired import Desired

sys.path.insert(0, str(Path(__file__).parents[1] / "unit/adoption"))
from adoption_samples import SYSTEM, TEMPLATES, as_zvol

KEYS = st.sampled_from(sorted(KNOWN)).flatmap(
    lambda key: st.integers(0, 2).map(lambda number: key.replace("N", str(number)))
)
VALUES = st.one_of(
    st.sampled_from(
        ["uefi", "yes", "no", "1", "2", "4", "512M", "1G", "virtio-blk", "ahci-hd", "ahci-cd", "nvme", "virtio-net",
         "e1000", "public", "disk0", "disk1", "zvol", "sparse-zvol", "custom", "3/0/0", "3/0/0=2:0", "ro", "nodelete",
         "58:9c:fc:00:00:01", "org.qemu.guest_agent.0", "/dev/zvol/a/b", ""]
    ),
    st.text(max_size=20),
)  # fmt: skip
LINES = st.lists(st.tuples(KEYS, VALUES).map(lambda pair: f'{pair[0]}="{pair[1]}"'), max_size=12)
SYSTEMS = st.lists(
    st.tuples(
        st.sampled_from(["type", "ports", "vlan", "addr", "addr6", "mtu", "private", "bridge"]),
        st.one_of(st.sampled_from(["manual", "vxlan", "em0", "em0 em1", "12", "4095", "9000", "10", "10.1.0.1/24",
                                   "10.1.0.0/24", "fd00::1/64", "yes", "bridge0"]), st.text(max_size=9)),
    ).map(lambda pair: f"{pair[0]}_public={pair[1]}"),
    max_size=5,
).map("\n".join)  # fmt: skip
BASES = st.sampled_from(["", *(as_zvol(text) for text in TEMPLATES.values())])


@settings(deadline=None)
@given(LINES, BASES, SYSTEMS, st.sampled_from(["web", "Web_1", "...", "x.y"]))
def test_any_text_is_refused_with_a_reason_or_becomes_a_sound_guest(
    lines: list[str], base: str, system: str, name: str
) -> None:
    there = VmBhyveGuest(
        name=name, folder=f"/vm/{name}", dataset=f"zroot/vm/{name}", text="\n".join([*lines, base]),
        disks=(VmBhyveDisk(name="disk0", kind="zvol", size=1 << 30), VmBhyveDisk(name="d.img", kind="file", size=9)),
    )  # fmt: skip
    reading = VmBhyveReading(
        system=f"switch_list=public\n{system or SYSTEM}", system_file="system.conf", guests=(there,)
    )
    found = examine(reading, Desired(), {}, (), Choices())
    (one,) = found.guests
    assert (one.guest is None) == any(item.refuses for item in one.findings)
    if one.guest is None:
        return
    assert one.guest == validate(one.guest)
    assert all(port == validate(port) for port in one.ports)
    networks = {network.name: validate(network) for network in found.networks}
    desired = Desired(
        guests={one.name: one.guest}, ports={port.name: port for port in one.ports}, networks=networks
    )  # fmt: skip
    assert check(desired) == []
    assert set(one.disks) == {disk.name for disk in one.guest.disks}
