"""Guests of vm-bhyve: read where they lie, and their volumes taken over by renaming.

In its dataset vm-bhyve keeps .config/system.conf, and for each guest a file system GUEST with GUEST.conf, its files and
its volumes (lib/vm-zfs and lib/vm-datastore of vm-bhyve 1.7). Only datasets that the policy lists are looked at, and of
what is in them nothing is changed but the volumes' names and two properties, which undo takes back.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .. import run
from ..guard import client as guard
from ..handlers import Context, Failure, Handler
from ..paths import Folder, open_folder
from ..policy import Policy
from ..vocabulary import (
    AdoptDisk,
    AdoptVariables,
    ReadVmBhyve,
    Rejected,
    VmBhyveDisk,
    VmBhyveGuest,
    VmBhyveReading,
)
from . import layout, listing, names, nodes
from .layout import VARS
from .listing import Entry, Tree
from .tool import patient_zfs, zfs

SYSTEM = ".config/system.conf"
VMM = Path("/dev/vmm")
_LONGEST_TEXT = 64 << 10
_LONGEST_VARS = 64 << 20
_MOST_FILES = 64


def read(context: Context, request: ReadVmBhyve) -> VmBhyveReading:
    """Raises Rejected when the policy lists nothing, Failure for a dataset that is not there or not mounted."""
    policy = context.policy
    if not policy.adopt:
        raise Rejected('the policy names no dataset to adopt from: write e.g. adopt = ["zroot/vm"] into it')
    guests: list[VmBhyveGuest] = []
    system, file = "", ""
    for store in policy.adopt:
        tree = listing.read(store, progress=context.progress)
        with _folder(_dataset(tree, store)) as folder:
            text = _system(folder)
            if text and not system:
                system, file = text, f"{folder.path}/{SYSTEM}"
        guests += [found for entry in tree.below(store) if (found := _guest(tree, entry)) is not None]
    return VmBhyveReading(system=system, system_file=file, guests=tuple(guests), autostart=_autostart())


def adopt_disk(context: Context, request: AdoptDisk) -> None:
    policy, progress = context.policy, context.progress
    _require_listed(policy, request.source)
    here = names.disk(policy, request.guest, request.disk)
    with layout.held_guest(policy, request.guest, progress=progress):
        if guard.is_running(policy, request.guest):
            raise Failure("busy", f"guest {request.guest} runs: stop it first")
        ours = layout.guest_tree(policy, request.guest, progress).get(here)
        theirs = listing.read(request.source, depth=0, progress=progress).get(request.source)
        taken = ours is not None and ours.mark("adopted") == request.source
        if request.undo:
            _give_back(request, here, taken, theirs)
        elif not taken:
            _take(request, here, ours, theirs)
            nodes.await_node(here, progress)


def _take(request: AdoptDisk, here: str, ours: Entry | None, theirs: Entry | None) -> None:
    """The marks first: a volume among Skep's without them would be nobody's, if we died between."""
    if ours is not None:
        raise Failure("exists", f"guest {request.guest} has another disk {request.disk} already")
    if theirs is None:
        raise Failure("missing", f"there is no dataset {request.source}")
    if theirs.kind != "volume":
        raise Failure("conflict", f"{request.source} is a {theirs.kind}; only volumes become disks")
    if request.source.partition("/")[0] != here.partition("/")[0]:
        raise Failure("unsupported", f"{request.source} is in another pool than {here}: send it there first (zfs send)")
    _require_stopped(theirs.parent)
    edition = "full" if theirs.reserved else "thin"
    zfs("set", f"skep:disk={edition}", f"skep:adopted={request.source}", request.source)
    patient_zfs("rename", request.source, here)


def _give_back(request: AdoptDisk, here: str, taken: bool, theirs: Entry | None) -> None:
    if taken and theirs is not None:
        raise Failure("exists", f"{request.source} is there again: rename one of the two (zfs rename)")
    if not taken and theirs is None:
        raise Failure("missing", f"disk {request.disk} of guest {request.guest} was never {request.source}")
    if taken:
        patient_zfs("rename", here, request.source)
    for mark in ("skep:disk", "skep:adopted"):
        zfs("inherit", mark, request.source)
    nodes.await_node(request.source)


def adopt_variables(context: Context, request: AdoptVariables) -> None:
    """Those of the guest are kept when it has some already."""
    policy = context.policy
    _require_listed(policy, f"{request.source}/{VARS}")
    with layout.held_guest(policy, request.guest, progress=context.progress) as home:
        if home.exists(VARS):
            return
        tree = listing.read(request.source, depth=0)
        with _folder(_dataset(tree, request.source)) as folder:
            try:
                data = folder.read(VARS, limit=_LONGEST_VARS)
            except FileNotFoundError:
                raise Failure("missing", f"there is no {folder.shown(VARS)}") from None
        home.write(VARS, data)


HANDLERS: dict[type, Handler] = {ReadVmBhyve: read, AdoptDisk: adopt_disk, AdoptVariables: adopt_variables}


def _require_listed(policy: Policy, source: str) -> None:
    """Two levels below one of the policy's datasets."""
    store = source.rpartition("/")[0].rpartition("/")[0]
    if store not in policy.adopt:
        listed = ", ".join(policy.adopt) or "none"
        raise Rejected(f"{source} is not in a dataset that the policy lets Skep adopt from (adopt: {listed})")


def _require_stopped(dataset: str) -> None:
    tree = listing.read(dataset, depth=0)
    with _folder(_dataset(tree, dataset)) as folder:
        name = dataset.rpartition("/")[2]
        if busy := _busy(folder, name):
            raise Failure("busy", f"guest {name} of vm-bhyve runs ({busy}): vm stop {name}")


def _dataset(tree: Tree, name: str) -> Entry:
    entry = tree.get(name)
    if entry is None:
        raise Failure("missing", f"there is no dataset {name}; see `adopt` in the policy")
    if entry.kind != "filesystem" or not entry.mounted:
        raise Failure("failed", f"{name} is not a mounted file system: zfs mount {name}")
    return entry


def _folder(entry: Entry) -> Folder:
    return open_folder(Path(entry.mountpoint))


def _guest(tree: Tree, entry: Entry) -> VmBhyveGuest | None:
    """None for what is no guest: templates, images, a file system of something else."""
    if entry.kind != "filesystem" or not entry.mounted or entry.leaf.startswith("."):
        return None
    with _folder(entry) as folder:
        text = _text(folder, f"{entry.leaf}.conf")
        if text is None:
            return None
        volumes = [one for one in tree.below(entry.name) if one.kind == "volume"]
        disks = [VmBhyveDisk(name=one.leaf, kind="zvol", size=one.size) for one in volumes]
        return VmBhyveGuest(
            name=entry.leaf, folder=folder.path, dataset=entry.name, text=text, disks=(*disks, *_files(folder)),
            variables=folder.exists(VARS), busy=_busy(folder, entry.leaf),
            suspended=folder.exists(f"{entry.leaf}.save"),
        )  # fmt: skip


def _files(folder: Folder) -> Iterator[VmBhyveDisk]:
    """What may be disks: files that are not vm-bhyve's own texts."""
    found = 0
    for name in sorted(folder.names()):
        status = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) and not name.endswith((".conf", ".log", ".lock")) and found < _MOST_FILES:
            found += 1
            with suppress(Rejected):  # a name that cannot be shown is no disk of a configuration either
                yield VmBhyveDisk(name=name, kind="file", size=status.st_size)


def _busy(folder: Folder, guest: str) -> str:
    """Why a guest counts as running. A lock of this host without a VM is what an unclean end left; vm-bhyve does not
    look at it either."""
    if (VMM / guest).exists():
        return f"{VMM / guest} exists"
    holder = (_text(folder, "run.lock") or "").strip()
    if holder and holder != socket.gethostname():
        return f"run.lock of {holder:.64}"
    return ""


def _system(folder: Folder) -> str:
    with suppress(FileNotFoundError), folder.folder(".config") as config:
        return _text(config, "system.conf") or ""
    return ""


def _text(folder: Folder, name: str) -> str | None:
    """None when there is no such file."""
    try:
        return folder.read(name, limit=_LONGEST_TEXT).decode(errors="replace")
    except FileNotFoundError:
        return None


def _autostart() -> tuple[str, ...]:
    """vm_list of rc.conf, where there is one."""
    if not run.installed("sysrc"):
        return ()
    return tuple(run.run(["sysrc", "-i", "-n", "-q", "vm_list"]).decode(errors="replace").split())
