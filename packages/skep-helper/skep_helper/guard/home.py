"""Small files of the root side beside a guest's disks: media that a reboot detached, the readable configuration.

Also the start of a guest as far as it is the same for every VMM: who may start it, with which lock.
"""

from __future__ import annotations

import grp
import json
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ..handlers import Failure
from ..locks import alone
from ..paths import Folder
from ..policy import Policy
from ..vocabulary.guest import GuestSpec, MediaDevice
from . import client, state
from .readings import readings

DETACHED = "detached.json"
COPY = "vmm.conf"
_TURN = 60.0
"""Seconds that others who are starting guests may take to look what is free; each takes milliseconds."""

Answer = TypeVar("Answer")


def claim(policy: Policy, guest: str) -> int | dict[str, Any]:
    """The guard's lock for somebody who is about to start the guest, or the state of a guest that runs already.

    Raises Failure(busy). The lock is the caller's to close.
    """
    folder = state.Folder(str(policy.run), guest)
    end = time.monotonic() + client.LEAVING
    while (running := _running(policy, guest)) is None:
        folder.make()
        lock = state.acquire(folder)
        if lock is not None:
            return lock
        if time.monotonic() > end:
            raise Failure("busy", f"guest {guest}: somebody else is starting it; try again")
    return running


def reserve(policy: Policy, spec: GuestSpec, check: Callable[[int, frozenset[str]], Answer]) -> Answer:
    """Reserve memory and devices for a guest whose lock the caller has from `claim`; one start at a time does this.

    check: given the bytes of memory and the PCI addresses that all other guests have or are being started with, raises
    what speaks against it; its answer is returned. Raises Failure(busy) too.
    """
    with alone(f"{policy.run}/guests/.starting", f"the start of guest {spec.name}", _TURN):
        others = _others(policy, spec.name)
        devices = frozenset(address for record in others for address in record.get("passthrough", ()))
        answer = check(sum(int(record["memory"]) for record in others), devices)
        state.reserve(state.Folder(str(policy.run), spec.name), spec.memory, spec.passthrough)
    return answer


def _others(policy: Policy, guest: str) -> list[dict[str, Any]]:
    """What the other guests have: the states of those that run, the reservations of those about to."""
    live = {record["guest"]: record for record in readings(policy) if record["state"] in state.LIVE}
    names = [name for name in os.listdir(policy.run / "guests") if not name.startswith(".") and name != guest]
    found = [live.get(name) or state.reserved(state.Folder(str(policy.run), name)) for name in names]
    return [record for record in found if record is not None]


def _running(policy: Policy, guest: str) -> dict[str, Any] | None:
    """What the guest's guard says; its state file alone could be that of a guard that is being killed."""
    if not client.is_running(policy, guest):
        return None
    try:
        record: dict[str, Any] = client.ask(policy, guest, {"op": "reading"})["state"]
    except Failure as failure:
        if failure.code != "missing":
            raise
        return None
    return record if record["state"] in state.LIVE else None


def medium_key(medium: MediaDevice) -> str:
    return f"{medium.image}:{medium.version}"


def still_detached(policy: Policy, spec: GuestSpec, home: Folder) -> list[str]:
    """Media that an earlier reboot detached. One that has left the definition since may come back to be used anew."""
    listed = read_json(home, DETACHED, [])
    last = state.read(state.Folder(str(policy.run), spec.name))
    if last is not None:  # the guard could not write the file, on a full disk
        listed += [key for key in last["detached"] if key not in listed]
    defined = {medium_key(medium) for medium in spec.media if medium.until_reboot}
    kept = [key for key in listed if key in defined]
    if kept != listed:
        home.write(DETACHED, json.dumps(kept).encode())
    return kept


def read_json(folder: Folder, name: str, default: Any) -> Any:
    """A small file that the root side wrote; the default when there is none."""
    try:
        return json.loads(folder.read(name))
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise Failure("failed", f"{folder.shown(name)} is damaged ({error}); remove it") from None


def write_copy(policy: Policy, home: Folder, text: str) -> None:
    """The VMM's configuration for people, and only when it changed: nothing here reads it."""
    data = text.encode()
    if home.exists(COPY) and home.read(COPY) == data:
        return
    home.write(COPY, data, 0o640, durable=False)
    try:
        group = grp.getgrnam(policy.group).gr_gid
    except KeyError:
        return
    descriptor = home.open(COPY)
    try:
        os.fchown(descriptor, -1, group)
    finally:
        os.close(descriptor)
