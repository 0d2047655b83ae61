"""Slots of devices: numbers that stay with a device for as long as its guest defines it.

A slot is written into the definition when the device is first planned. Deriving it from the position would move
every later device when one in the middle goes; deriving it from the name would need a table of collisions. So the
number is state, and like all state it stands in the definition: a guest that moves to another host keeps it.
One number space for all devices of a guest; a device is known by its disk name, its port or its medium's image.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

from skepd.model.desired import Desired
from skepd.model.objects import Disk, Guest, Media, Nic

Device = Disk | Nic | Media

_MANY = 32
"""Buses are finite (44 slots with QEMU as skep-helper starts it)."""


def settle(before: Desired, after: Desired) -> Desired:
    """`after` with a slot for every device: the one it says, else the one it had in `before`, else a free one.

    Idempotent; returns `after` itself when nothing is open, so that unchanged guests stay the same objects.
    """
    if after is before and not any(_open(guest) for guest in after.guests.values()):
        return after
    changed: dict[str, Guest] = {}
    for name, guest in after.guests.items():
        if _open(guest):
            old = before.guests.get(name)
            settled = _settle_guest(old, guest)
            changed[name] = old if old is not None and settled == old else settled
    if not changed:
        return after
    return dataclasses.replace(after, guests={**after.guests, **changed})


def _open(guest: Guest) -> bool:
    for disk in guest.disks:
        if disk.slot is None:
            return True
    for nic in guest.nics:
        if nic.slot is None:
            return True
    return any(media.slot is None for media in guest.media)


def _settle_guest(before: Guest | None, guest: Guest) -> Guest:
    old = {key: device.slot for key, device in _devices(before)} if before else {}
    taken = {device.slot for _, device in _devices(guest) if device.slot is not None}
    slots: dict[tuple[str, str], int] = {}
    for key, device in _devices(guest):
        had = old.get(key)
        if device.slot is None and had is not None and had not in taken:
            slots[key] = had
            taken.add(had)
    for key, device in _devices(guest):
        if device.slot is not None:
            slots[key] = device.slot
        elif key not in slots:
            # Slots of devices that go in this very change are not given away: the running guest still has them.
            slots[key] = _free(taken, old.values())
            taken.add(slots[key])
    return dataclasses.replace(
        guest,
        disks=tuple(dataclasses.replace(disk, slot=slots["disk", disk.name]) for disk in guest.disks),
        nics=tuple(dataclasses.replace(nic, slot=slots["nic", nic.port]) for nic in guest.nics),
        media=tuple(dataclasses.replace(media, slot=slots["media", media.image]) for media in guest.media),
    )


def _devices(guest: Guest) -> Iterable[tuple[tuple[str, str], Device]]:
    for disk in guest.disks:
        yield ("disk", disk.name), disk
    for nic in guest.nics:
        yield ("nic", nic.port), nic
    for media in guest.media:
        yield ("media", media.image), media


def _free(taken: set[int], kept: Iterable[int | None]) -> int:
    """The lowest slot that nobody has or had; from _MANY on one that a device had which goes."""
    held = {*taken, *kept}
    free = next(number for number in itertools.count() if number not in held)
    return free if free < _MANY else next(number for number in itertools.count() if number not in taken)
