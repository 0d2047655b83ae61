"""StartGuest: check what the guest needs, write its configuration, have a guard forked that makes its jail and runs it.

The configuration lies in the guest's runtime folder, root's alone. Files and disks in it are numbers of descriptors
(below /fd in the jail): the guard opens each by its path before every run, so the jail needs none of them. The readable
copy beside the disks has the paths.
"""

from __future__ import annotations

import os
import secrets
import string
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from ..guard import client, state
from ..guard import home as home_files
from ..guard.home import DETACHED, medium_key
from ..guard.readings import to_reading
from ..guard.requests import SERIAL
from ..handlers import Context, Failure
from ..paths import Folder, open_folder
from ..policy import Policy
from ..vocabulary.guest import GuestReading, GuestSpec, StartGuest
from . import DRIVER, guests_check, guests_facts, guests_firmware, guests_root, guests_rulesets, guests_sources
from .bhyve import config, line, syntax
from .bhyve.config import Machine
from .bhyve.jail import Jail
from .bhyve.process import FIRST_DESCRIPTOR
from .guests_sources import SEED, VARS

CONF, CONF_AFTER, PASSWORD = "bhyve.conf", "bhyve-after.conf", "screen.password"
AGENT_SOCKET = "agent.sock"
_REMARKS = """Made by Skep for guest {name}, to be read, and to be run by hand when Skep is not there:
bhyve -k FILE. Its screen then has no password; its taps must exist and be in the host's network stack."""


@dataclass(frozen=True)
class Prepared:
    """paths: by key of config.keys, and writable: whether bhyve may write there. taps: devices by port."""

    paths: dict[str, str]
    taps: dict[str, str]
    agent: str
    password: str


def start(context: Context, request: StartGuest) -> GuestReading:
    """Raises Failure: missing (a disk, image, port), full (memory), unsupported, busy, failed (bhyve's words)."""
    policy, spec = context.policy, request.guest
    claimed = home_files.claim(policy, spec.name)
    if not isinstance(claimed, int):
        return to_reading(claimed)
    try:
        notice = home_files.reserve(policy, spec, partial(_check, policy, spec, guests_facts.read()))
        with guests_sources.storage().held_guest(policy, spec.name) as home:
            launch = prepare(policy, spec, home, guests_sources.storage(), guests_root.prepare(policy))
            launch["state"]["message"] = notice
            return to_reading(client.spawn(policy, {"guest": spec.name, "launch": launch}, [claimed]))
    finally:
        os.close(claimed)


def _check(policy: Policy, spec: GuestSpec, facts: guests_facts.Facts, used: int, lent: frozenset[str]) -> str:
    """What is worth saying of a guest that may start; raises Rejected and Failure for one that may not."""
    guests_check.check(spec, facts, policy, used, lent)
    return guests_check.shared(spec, facts, lent)


def prepare(
    policy: Policy, spec: GuestSpec, home: Folder, storage: guests_sources.Storage, root: str
) -> dict[str, Any]:
    """Write what the guard and bhyve read, and say how the guard is to run it. root: the shared file system."""
    detached = home_files.still_detached(policy, spec, home)
    out = tuple(item.slot for item in spec.media if item.until_reboot and medium_key(item) in detached)
    leaving = tuple(item.slot for item in spec.media if item.until_reboot)
    folder = state.Folder(str(policy.run), spec.name)
    made = Prepared(
        _paths(policy, spec, home, storage, out),
        {nic.port: guests_sources.tap_device(policy, nic.port) for nic in spec.nics},
        f"/run/{AGENT_SOCKET}" if spec.agent else "",
        "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(config.PASSWORD_LENGTH)),
    )
    with open_folder(Path(folder.path)) as runtime:
        for name, slots in ((CONF, out), (CONF_AFTER, leaving)):
            runtime.write(name, _text(spec, made, slots).encode(), durable=False)
        runtime.write(PASSWORD, made.password.encode(), durable=False)
    home.make(SERIAL).close()
    home_files.write_copy(policy, home, readable(spec, made))
    state.remove(folder.errors)
    os.mkfifo(folder.errors, 0o600)
    record = _record(spec, home, detached)
    record["media"] = {medium_key(item): item.slot for item in spec.media if item.until_reboot and item.slot not in out}
    if spec.agent:
        record["agent"] = f"{folder.path}/agent/{AGENT_SOCKET}"
    record["launch"] = _launch(policy, spec, folder, made, root, leaving)
    return {"state": record}


def readable(spec: GuestSpec, made: Prepared) -> str:
    """The configuration with paths instead of descriptors, without the password."""
    machine = Machine(
        vm=vm(spec.name), paths=made.paths, line=line.device(spec.name, "A"), taps=made.taps,
        agent=f"/tmp/{spec.name}-agent.sock" if spec.agent else "",  # noqa: S108 - for people, by hand
    )  # fmt: skip
    return syntax.render(config.settings(spec, machine), _REMARKS.format(name=spec.name))


def vm(guest: str) -> str:
    """The name of its VM, which is one for all of the host."""
    return f"skep.{guest}"


def _paths(
    policy: Policy, spec: GuestSpec, home: Folder, storage: guests_sources.Storage, out: tuple[int, ...]
) -> dict[str, str]:
    """Where the files of config.keys are; makes the variables if there are none."""
    code, variables = guests_firmware.find()
    if not home.exists(VARS):
        home.write(VARS, Path(variables).read_bytes())
    if spec.seed and not home.exists(SEED):
        raise Failure("missing", f"guest {spec.name} has no seed; write it first")
    found = {"code": code, "vars": home.shown(VARS), "seed": home.shown(SEED)}
    found.update({f"disk:{disk.disk}": storage.disk_path(policy, spec.name, disk.disk) for disk in spec.disks})
    for medium in spec.media:
        if medium.slot not in out:
            found[f"media:{medium.slot}"] = storage.image_path(policy, medium.image, medium.version)
    return {key: found[key] for key in config.keys(spec, out)}


def _text(spec: GuestSpec, made: Prepared, out: tuple[int, ...]) -> str:
    """out: slots of media that are not in. The numbers of the others stay."""
    numbers = {key: f"/fd/{FIRST_DESCRIPTOR + 1 + index}" for index, key in enumerate(made.paths)}
    machine = Machine(
        vm=vm(spec.name), paths={key: numbers[key] for key in config.keys(spec, out)},
        line=line.device(spec.name, "A"), taps=made.taps, agent=made.agent, password=made.password,
    )  # fmt: skip
    return syntax.render(config.settings(spec, machine))


def _launch(
    policy: Policy, spec: GuestSpec, folder: state.Folder, made: Prepared, root: str, leaving: tuple[int, ...]
) -> dict[str, Any]:
    """What the driver keeps: argv, line, files (path, whether bhyve writes there; the first is the configuration),
    files_after a reboot, jail, ports, policy, the screen's port and the file of its password."""
    gone = {f"media:{slot}" for slot in leaving}
    files = [(path, key == "vars" or key.startswith("disk:")) for key, path in made.paths.items()]
    after = [
        ("" if key in gone else path, flag) for (key, _), (path, flag) in zip(made.paths.items(), files, strict=True)
    ]
    serial = line.device(spec.name, "")
    devices = [*made.taps.values(), f"{os.path.basename(serial)}*", *(["pci"] if spec.passthrough else [])]
    jail = Jail(
        name=f"skep_g_{spec.name}", vm=vm(spec.name), root=f"{folder.path}/root", shared=root,
        ruleset=guests_rulesets.claim(policy, spec.name), devices=tuple(devices),
        agent=f"{folder.path}/agent" if spec.agent else "",
    )  # fmt: skip
    return {
        "argv": [guests_root.BHYVE, "-k", f"/fd/{FIRST_DESCRIPTOR}"], "line": line.device(spec.name, "A"),
        "files": [(f"{folder.path}/{CONF}", False), *files],
        "files_after": [(f"{folder.path}/{CONF_AFTER}", False), *after],
        "jail": jail.to_json(), "ports": list(made.taps.items()), "policy": _policy(policy),
        "screen": config.SCREEN_PORT if spec.screen else 0, "password": f"{folder.path}/{PASSWORD}",
    }  # fmt: skip


def _policy(policy: Policy) -> dict[str, Any]:
    """As policy.parse takes it."""
    values = {item.name: getattr(policy, item.name) for item in fields(policy)}
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
    }


def _record(spec: GuestSpec, home: Folder, detached: list[str]) -> dict[str, Any]:
    """The guard's state before the start; guard.state and the driver say what the keys mean."""
    return {
        "guest": spec.name, "digest": spec.digest, "memory": spec.memory, "driver": DRIVER, "accelerator": "vmm",
        "state": "stopped", "pid": 0, "start": "", "started": 0.0, "ending": "", "ended": 0.0, "reboots": 0,
        "message": "", "screen": spec.screen, "serial_start": -1, "history": home.shown(SERIAL),
        "detached_file": home.shown(DETACHED), "detached": detached, "media_detached": bool(detached),
        "disks": {disk.disk: [] for disk in spec.disks}, "passthrough": list(spec.passthrough), "jail": 0,
        "again": False, "spread": True,
    }  # fmt: skip
