"""Checks of a guest by itself, and of the order in which guests start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .errors import nearest
from .faults import Faults, fault
from .names import Kind
from .objects import CloudInit, Gate, Guest

MOST_CPUS = 256


def check_guest(guest: Guest) -> Faults:
    """Disks, cards, CPUs, health gate and cloud-init of one guest."""
    yield from _disks(guest)
    yield from _slots(guest)
    yield from _twice(guest, "nic", [nic.port for nic in guest.nics], "port")
    yield from _twice(guest, "media", [medium.image for medium in guest.media], "image")
    if guest.cpus.total > MOST_CPUS:
        hint = f"write at most {MOST_CPUS} in all"
        yield fault(Kind.GUEST, guest.name, ("cpus",), f"{guest.cpus.total} CPUs are too many for a guest", hint)
    if guest.boot.gate:
        yield from _gate(guest, guest.boot.gate)
    if guest.cloud_init:
        yield from _cloud_init(guest, guest.cloud_init)


def _disks(guest: Guest) -> Faults:
    yield from _twice(guest, "disk", [disk.name for disk in guest.disks], "name")
    for number, disk in enumerate(guest.disks):
        if disk.size is None and disk.image is None:
            problem = f"disk {disk.name} has neither size nor image"
            yield fault(Kind.GUEST, guest.name, ("disk", number), problem, 'write e.g. size = "20G"')


def _slots(guest: Guest) -> Faults:
    seen: set[int] = set()
    slots = [("disk", number, disk.slot) for number, disk in enumerate(guest.disks)]
    slots += [("nic", number, nic.slot) for number, nic in enumerate(guest.nics)]
    slots += [("media", number, medium.slot) for number, medium in enumerate(guest.media)]
    for part, number, slot in slots:
        if slot in seen:
            problem = f"another device has slot {slot} already"
            yield fault(Kind.GUEST, guest.name, (part, number, "slot"), problem, "leave it out: a free one is taken")
        elif slot is not None:
            seen.add(slot)


def _twice(guest: Guest, part: str, words: list[str], key: str) -> Faults:
    for number, word in enumerate(words):
        if word in words[:number]:
            problem = f'two entries of {part} have {key} "{word}"'
            yield fault(Kind.GUEST, guest.name, (part, number, key), problem, "give one of them another")


def _gate(guest: Guest, gate: Gate) -> Faults:
    needs = {"serial": "text", "tcp": "port"}.get(gate.kind)
    examples = {"text": 'text = "login:"', "port": "port = 22"}
    if needs and not getattr(gate, needs):
        problem = f"a gate of kind {gate.kind} needs {needs}"
        yield fault(Kind.GUEST, guest.name, ("boot", "gate"), problem, f"write e.g. {examples[needs]}")
    allowed = {"serial": ("text",), "tcp": ("port", "address"), "ping": ("address",)}.get(gate.kind, ())
    for key in ("text", "port", "address"):
        if getattr(gate, key) and key not in allowed:
            problem = f"a gate of kind {gate.kind} has no {key}"
            yield fault(Kind.GUEST, guest.name, ("boot", "gate", key), problem, "leave it out")


def _cloud_init(guest: Guest, cloud_init: CloudInit) -> Faults:
    if cloud_init.user_data is None:
        return
    for key, value in (("user", cloud_init.user), ("ssh-keys", cloud_init.ssh_keys), ("commands", cloud_init.commands)):
        if value:
            problem = f"user-data is used as it stands, so {key} would be without effect"
            yield fault(Kind.GUEST, guest.name, ("cloud-init", key), problem, f"leave out {key} or user-data")


def check_boot_order(guests: Mapping[str, Guest]) -> Faults:
    """Guests named in `after` that do not exist, and cycles."""
    for guest in guests.values():
        for number, name in enumerate(guest.boot.after):
            if name not in guests:
                path = ("boot", "after", number)
                others = (other for other in guests if other != guest.name)
                yield fault(Kind.GUEST, guest.name, path, f'there is no guest "{name}"', nearest(name, others, "guest"))
    for cycle in _cycles(guests):
        way = " -> ".join([*cycle, cycle[0]])
        hint = f'take "{cycle[1 % len(cycle)]}" out of the list of "{cycle[0]}", or break it elsewhere'
        yield fault(Kind.GUEST, cycle[0], ("boot", "after"), f"guests wait for each other: {way}", hint)


def _cycles(guests: Mapping[str, Guest]) -> Iterable[list[str]]:
    """Each cycle met when everything is followed once; not recursive, because chains may be long."""
    done: set[str] = set()
    for start in guests:
        way: list[str] = []
        on_way: dict[str, int] = {}
        pending = [(start, 0)] if start not in done else []
        while pending:
            name, depth = pending.pop()
            for left in way[depth:]:
                del on_way[left]
                done.add(left)
            del way[depth:]
            if name in on_way:
                yield way[on_way[name] :]
            elif name not in done and name in guests:
                on_way[name] = depth
                way.append(name)
                pending += [(after, depth + 1) for after in reversed(guests[name].boot.after)]
        done.update(way)
