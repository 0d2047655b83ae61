"""Disks of a vm-bhyve guest: those that can change hands as they are, and what to do about the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from skep_helper.vocabulary import VmBhyveGuest

from skepd.model.objects import Disk

from .conf import Conf
from .findings import Finding
from .networks import slug
from .vm_bhyve import VmDisk

_MODELS = {"virtio-blk": "virtio", "ahci-hd": "ahci", "nvme": "nvme"}
_HARMLESS = ("nocache", "direct")


@dataclass(frozen=True)
class Taken:
    """A disk and the dataset that it is now."""

    disk: Disk
    dataset: str


def convert_disks(disks: tuple[VmDisk, ...], there: VmBhyveGuest, conf: Conf) -> Iterator[Taken | Finding]:
    """Findings about each disk, and those that can be taken over."""
    sizes = {disk.name: disk.size for disk in there.disks if disk.kind == "zvol"}
    for disk in disks:
        yield from _convert(disk, there, sizes, conf)


def _convert(disk: VmDisk, there: VmBhyveGuest, sizes: Mapping[str, int], conf: Conf) -> Iterator[Taken | Finding]:
    label, place = f"disk{disk.number} ({disk.name})", conf.place(f"disk{disk.number}_name")
    if disk.type == "ahci-cd":
        yield Finding(place, f"{label} is a CD: not taken over; pull it as an image and add it as media if needed")
        return
    if disk.type not in _MODELS:
        text = f"{label} is a device {disk.type!r:.40}: Skep has {', '.join(_MODELS)}; take it out to adopt the rest"
        yield Finding(place, text, refuses=True)
        return
    refusal = _not_a_zvol(disk, there, sizes, label)
    if refusal:
        yield Finding(place, refusal, refuses=True)
        return
    yield from _options(disk, label, conf.place(f"disk{disk.number}_opts"))
    model = Disk(
        name=slug(disk.name), size=sizes[disk.name], format="zvol", model=_MODELS[disk.type],
        edition="thin" if disk.sparse else "full",
        discard="nodelete" not in disk.options,
    )  # fmt: skip
    yield Taken(model, f"{there.dataset}/{disk.name}")


def _not_a_zvol(disk: VmDisk, there: VmBhyveGuest, sizes: Mapping[str, int], label: str) -> str:
    if disk.kind == "zvol":
        if disk.name not in sizes:
            return f"{label}: there is no zvol {there.dataset or there.folder}/{disk.name}; create it or take it out"
        return "" if slug(disk.name) else f"{label} has no letter or digit in its name: rename the zvol"
    if disk.kind == "iscsi":
        return f"{label} is an iSCSI target, and Skep's disks are zvols of this host: copy it into one first"
    if disk.kind == "custom":
        return _custom(disk, there, label)
    return _file(disk, there, label)


def _custom(disk: VmDisk, there: VmBhyveGuest, label: str) -> str:
    prefix = "/dev/zvol/"
    if not disk.name.startswith(prefix):
        return f"{label} is a device or file of its own, and Skep's disks are zvols: copy it into one first"
    target = f"disk{disk.number}"
    return (
        f"{label} lies outside of the guest's dataset: zfs rename {disk.name.removeprefix(prefix)} "
        f"{there.dataset}/{target} && {_sysrc(there, disk.number, target)}, then adopt again"
    )


def _file(disk: VmDisk, there: VmBhyveGuest, label: str) -> str:
    """How to make a zvol of it: Skep does not copy what it adopts."""
    size = next((item.size for item in there.disks if item.kind == "file" and item.name == disk.name), 0)
    if not size:
        return f"{label}: there is no file {there.folder}/{disk.name}; take the disk out of the configuration"
    if not there.dataset:
        return f"{label} is a file in a folder that is no ZFS dataset: move the guest to a ZFS datastore first"
    target = f"disk{disk.number}"
    return (
        f"{label} is a file, and Skep's disks are zvols: "
        f"zfs create -s -V {-(-size >> 20)}M -o volmode=dev {there.dataset}/{target} && "
        f"dd if={there.folder}/{disk.name} of=/dev/zvol/{there.dataset}/{target} bs=1m conv=sparse && "
        f"{_sysrc(there, disk.number, target, 'sparse-zvol')}, then adopt again (the file stays)"
    )


def _sysrc(there: VmBhyveGuest, number: int, zvol: str, kind: str = "zvol") -> str:
    file = f"{there.folder}/{there.name}.conf"
    return f"sysrc -f {file} disk{number}_dev={kind} disk{number}_name={zvol}"


def _options(disk: VmDisk, label: str, place: str) -> Iterator[Finding]:
    for option in disk.options:
        key, _, value = option.partition("=")
        if key == "ro":
            yield Finding(place, f"{label} is read-only, and Skep has no such disks: take it out", refuses=True)
        elif key == "sectorsize" and value.split("/")[0] != "512":
            text = f"{label} has sectors of {value.split('/')[0]} bytes, in Skep of 512: the guest would not find its"
            yield Finding(place, f"{text} partitions", refuses=True)
        elif key not in (*_HARMLESS, "nodelete", "sectorsize"):
            yield Finding(place, f"{label}: the option {option!r:.40} is not carried over")
