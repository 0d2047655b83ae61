"""StartGuest: check what the guest needs, open it, render the command line, have a guard forked."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any

from ..guard import client, state
from ..guard import home as home_files
from ..guard.home import DETACHED, medium_key, read_json
from ..guard.readings import to_reading
from ..guard.requests import SERIAL
from ..handlers import Context, Failure
from ..meanwhile import Meanwhile
from ..paths import Folder
from ..policy import Policy
from ..vocabulary.guest import GuestReading, GuestSpec, StartGuest
from . import DRIVER, guests_kvm, guests_passthrough, guests_sources, guests_uids
from .guests_files import VMM, Opener, disk_sources, make_pipes, media_sources
from .qemu import command, firmware, tpm
from .qemu.process import FIRST_DESCRIPTOR


def start(context: Context, request: StartGuest) -> GuestReading:
    """Raises Failure: missing (a disk, image, port), full (memory), unsupported, busy, failed (QEMU's words)."""
    policy, spec = context.policy, request.guest
    claimed = home_files.claim(policy, spec.name)
    if not isinstance(claimed, int):
        return to_reading(claimed)
    try:
        _check(spec)
        home_files.reserve(policy, spec, partial(_check_free, policy, spec))
        return _start(policy, spec, state.Folder(str(policy.run), spec.name), claimed)
    finally:
        os.close(claimed)


def _start(policy: Policy, spec: GuestSpec, folder: state.Folder, lock: int) -> GuestReading:
    """lock: the guard's. It goes with the message, so that it is held without a gap, whoever is killed."""
    with (
        guests_sources.storage(policy).held_guest(policy, spec.name) as home,
        Meanwhile() as meanwhile,
        Opener(policy, home, spec, meanwhile) as opener,
    ):
        launch = _prepare(policy, spec, home, opener, meanwhile)
        make_pipes(folder, launch["uid"])
        message = {"guest": spec.name, "launch": launch}
        meanwhile.begin()
        return to_reading(client.spawn(policy, message, [lock, *opener.descriptors, *opener.tpm]))


def _check(spec: GuestSpec) -> None:
    command.used_slots(spec)
    if spec.tpm and (why := tpm.reason()):
        raise Failure("unsupported", f"guest {spec.name}: no TPM here: {why}")


def _check_free(policy: Policy, spec: GuestSpec, used: int, lent: frozenset[str]) -> None:
    """used: bytes of memory of other guests. lent: PCI addresses that they have."""
    guests_passthrough.check(policy, spec.passthrough, lent)
    limit = policy.memory_limit or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if used + spec.memory > limit:
        free = max(limit - used, 0) >> 20
        needs = f"guest {spec.name} needs {spec.memory >> 20} MiB of memory, {free} MiB are free for guests"
        raise Failure("full", f"{needs}: stop another one, or give it less")


def _prepare(policy: Policy, spec: GuestSpec, home: Folder, opener: Opener, meanwhile: Meanwhile) -> dict[str, Any]:
    """Open everything and say how the guard is to start QEMU."""
    detached = home_files.still_detached(policy, spec, home)
    disks = disk_sources(policy, home, spec)
    media = media_sources(policy, spec.media, detached)
    keys = command.keys(spec, disks, media)
    for key in keys:
        opener.open(key)
    numbers = {key: FIRST_DESCRIPTOR + index for index, key in enumerate(keys)}
    accelerator = "kvm" if guests_kvm.feature(policy).works else "tcg"
    machine = command.Machine(qemu=firmware.QEMU, accelerator=accelerator, disks=disks, media=media, numbers=numbers)
    argv = command.render(spec, machine)
    home.make(SERIAL, durable=False).close()
    uid = _uid(policy, spec.name, home, meanwhile)
    if spec.tpm:
        opener.open_tpm_state(uid)
    copy = command.describe(argv, {numbers[key]: path for key, path in opener.paths.items()})
    meanwhile.add(lambda: home_files.write_copy(policy, home, copy))
    meanwhile.add(home.sync)  # all that the first start makes here
    guests_passthrough.lend(spec.passthrough, uid)
    groups = guests_kvm.groups() if accelerator == "kvm" else []
    record = _record(spec, home, accelerator, uid)
    record["disks"] = {disk.disk: [f"disk-{disk.slot}", disks[disk.disk].format] for disk in spec.disks}
    leaving = {medium.slot: medium_key(medium) for medium in spec.media if medium.until_reboot}
    record["media"] = {
        f"media-{slot}": [key, numbers[f"media:{slot}"]] for slot, key in leaving.items() if slot in media
    }
    record["detached"] = detached
    record["media_detached"] = bool(detached)
    return {
        "argv": argv, "uid": uid, "gid": uid, "groups": groups, "locked_memory": bool(spec.passthrough),
        "tpm": spec.tpm, "state": record,
    }  # fmt: skip


def _record(spec: GuestSpec, home: Folder, accelerator: str, uid: int) -> dict[str, Any]:
    """The guard's state before the start; guard.state and the driver say what the keys mean."""
    return {
        "guest": spec.name, "digest": spec.digest, "memory": spec.memory, "driver": DRIVER, "uid": uid,
        "accelerator": accelerator, "state": "stopped", "pid": 0, "start": 0, "started": 0.0, "ending": "",
        "ended": 0.0, "reboots": 0, "message": "", "frozen": False, "screen": spec.screen, "serial_start": -1,
        "history": home.shown(SERIAL), "detached_file": home.shown(DETACHED), "passthrough": list(spec.passthrough),
    }  # fmt: skip


def _uid(policy: Policy, guest: str, home: Folder, meanwhile: Meanwhile) -> int:
    recorded = int(read_json(home, VMM, {}).get("uid", 0))
    uid = guests_uids.claim(policy, guest, recorded)
    if uid != recorded:
        data = json.dumps({"uid": uid}).encode()
        meanwhile.add(lambda: home.write(VMM, data, durable=False))
    return uid
