"""A guest of the model as the VMM is to see it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from skep_helper.vocabulary import GuestSpec
from skep_helper.vocabulary.guest import Cpus, DiskDevice, MediaDevice, NicDevice

from skepd.model.macs import mac_of
from skepd.model.objects import Disk, Guest, Image, Port
from skepd.model.profiles import disk_model, local_clock, nic_model

from .digests import NO_DIGEST, sealed

_SERIAL_LENGTH = 20


def image_version(reference: str, images: Mapping[str, Image]) -> tuple[str, str]:
    """NAME or NAME:VERSION as (name, version); version "" when neither the reference nor a definition says one."""
    name, _, version = reference.partition(":")
    image = images.get(name)
    return name, version or (image.version if image else "")


def guest_spec(guest: Guest, ports: tuple[Port, ...], media_versions: tuple[tuple[str, str], ...]) -> GuestSpec:
    """The specification of a guest whose slots are settled.

    ports: those of guest.nics, in order; media_versions: (image, version) of guest.media, in order.
    Raises Rejected when a value is none that the vocabulary knows.
    """
    spec = GuestSpec(
        name=guest.name,
        digest=NO_DIGEST,
        memory=guest.memory,
        cpus=Cpus(sockets=guest.cpus.sockets, cores=guest.cpus.cores, threads=guest.cpus.threads),
        profile=guest.profile,
        disks=tuple(_disk(guest, disk) for disk in guest.disks),
        nics=tuple(
            NicDevice(port=port.name, slot=nic.slot or 0, mac=mac_of(port), model=nic_model(guest, nic))
            for nic, port in zip(guest.nics, ports, strict=True)
        ),
        media=tuple(
            MediaDevice(image=name, version=version, slot=media.slot or 0, until_reboot=media.until_reboot)
            for media, (name, version) in zip(guest.media, media_versions, strict=True)
        ),
        seed=guest.cloud_init is not None,
        screen=guest.screen,
        agent=guest.agent,
        tpm=guest.tpm,
        local_clock=local_clock(guest),
        secure_boot=guest.secure_boot,
        passthrough=guest.passthrough,
    )
    return sealed(spec)


def _disk(guest: Guest, disk: Disk) -> DiskDevice:
    return DiskDevice(
        disk=disk.name,
        slot=disk.slot or 0,
        model=disk_model(guest, disk),
        serial=_serial(disk.name),
        discard=disk.discard,
    )


def _serial(name: str) -> str:
    """The disk's name, by which the guest finds it; long names are cut and told apart by a digest."""
    if len(name) <= _SERIAL_LENGTH:
        return name
    return f"{name[:11]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
