"""Snapshots of a guest: one command that snapshots its file system and all its disks at the same instant.

A rollback brings back the disks, the UEFI variables and the TPM's state, and nothing else of the folder. It is
journalled: once begun it is finished, also after a crash. As with every rollback on ZFS, Skep's snapshots that are
newer go; one of somebody else's that is newer is never destroyed: then the rollback is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .. import log
from ..guard import client as guard
from ..handlers import Context, Failure
from ..paths import Folder, open_below, open_folder
from ..policy import Policy
from ..run import run
from ..storage import records
from ..storage.locks import Progress, no_progress
from ..storage.records import RollbackRecord
from ..vocabulary import Rejected, RemoveSnapshot, RollBackGuest, SnapshotGuest
from . import layout, listing, names, nodes, removal
from .layout import ROLLBACK, TPM, VARS
from .listing import Entry, Tree
from .tool import QUICK, SLOW, patient_zfs, zfs

_LARGEST = 64 << 20
_MOUNTS = "snapshots"
_INSTANT = 20.0
"""Seconds that a snapshot may take while the guest's file systems stand still; the guard thaws them later by itself."""


def snapshot(context: Context, request: SnapshotGuest) -> dict[str, bool]:
    policy, guest = context.policy, request.guest
    with layout.held_guest(policy, guest, progress=context.progress):
        tree = layout.guest_tree(policy, guest, context.progress)
        top = names.guest(policy, guest)
        there = tree.get(names.snapshot(top, request.snapshot))
        if there:
            _require_own(there)
            return {"frozen": there.mark("frozen") == "yes"}
        disks = layout.disks_of(policy, guest, tree)
        _drop_leftovers(tree, [entry.name for entry in disks.values()], request.snapshot, context.progress)
        running = guard.is_running(policy, guest)
        for entry in disks.values() if running else ():
            _sync(entry.name, context.progress)
        with guard.quiesced(policy, guest, wanted=running and request.quiesce) as frozen:
            marks = (
                f"skep:snapshot={request.snapshot}",
                f"skep:disks={','.join(disks)}",
                f"skep:frozen={'yes' if frozen else 'no'}",
            )
            options = [word for mark in marks for word in ("-o", mark)]
            targets = [names.snapshot(name, request.snapshot) for name in (top, *(e.name for e in disks.values()))]
            zfs("snapshot", *options, *targets, timeout=_INSTANT if frozen else QUICK)
        return {"frozen": frozen}


def _require_own(snapshot: Entry) -> None:
    if not snapshot.mark("snapshot"):
        advice = f"rename it (zfs rename {snapshot.name} ...) or choose another name"
        raise Failure("conflict", f"{snapshot.name} was not taken by Skep: {advice}")


def _drop_leftovers(tree: Tree, disks: list[str], snapshot: str, progress: Progress) -> None:
    """A disk that was in the trash when its guest's snapshot was removed has brought its part back."""
    for disk in disks:
        entry = tree.get(names.snapshot(disk, snapshot))
        if entry:
            _require_own(entry)
            patient_zfs("destroy", entry.name, progress=progress)


def _sync(volume: str, progress: Progress) -> None:
    """What the kernel holds back for a device of which the guest's VMM thinks that it is written."""
    descriptor = nodes.open_volume(volume, os.O_RDWR, progress)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(context: Context, request: RemoveSnapshot) -> None:
    """In one command, so that it goes from all of them or from none."""
    policy = context.policy
    with layout.held_guest(policy, request.guest, progress=context.progress):
        tree = layout.guest_tree(policy, request.guest, context.progress)
        leaf = f"{names.SNAPSHOT}{request.snapshot}"
        for entry in tree.snapshots():
            if entry.leaf == leaf:
                _require_own(entry)
        _destroy(tree, {leaf}, names.guest(policy, request.guest), context.progress)


def _destroy(tree: Tree, leaves: set[str], top: str, progress: Progress) -> None:
    """Skep's snapshots of these names below a guest: each name in one command, unless somebody else's are among them,
    or its part of the guest itself is gone already."""
    for leaf in sorted(leaves):
        entries = [entry for entry in tree.snapshots() if entry.leaf == leaf]
        ours = [entry for entry in entries if removal.is_ours(entry)]
        if len(ours) == len(entries) and tree.get(f"{top}@{leaf}"):
            patient_zfs("destroy", "-r", f"{top}@{leaf}", progress=progress)
            continue
        for entry in ours:
            patient_zfs("destroy", entry.name, progress=progress)


def roll_back(context: Context, request: RollBackGuest) -> None:
    policy, guest = context.policy, request.guest
    with layout.held_guest(policy, guest, unfinished=True, progress=context.progress) as folder:
        if guard.is_running(policy, guest):
            raise Failure("busy", f"guest {guest} is running; stop it before it is rolled back")
        tree = layout.guest_tree(policy, guest, context.progress)
        require_possible(policy, guest, request.snapshot, tree)
        records.write(folder, ROLLBACK, RollbackRecord(snapshot=request.snapshot))
        _finish(policy, guest, folder, request.snapshot, context.progress)


def kept(policy: Policy, guest: str, snapshot: str, tree: Tree) -> Entry:
    entry = tree.get(names.snapshot(names.guest(policy, guest), snapshot))
    if entry is None or not entry.mark("snapshot"):
        raise Failure("missing", f"guest {guest} has no snapshot {snapshot}")
    return entry


def disks_in(snapshot: Entry) -> tuple[str, ...]:
    """The disks that a guest's snapshot is of."""
    return tuple(name for name in snapshot.mark("disks").split(",") if name)


def require_possible(policy: Policy, guest: str, snapshot: str, tree: Tree) -> None:
    """Every disk of the snapshot must be there and hold it, with nothing newer that is not Skep's: all are rolled
    back or none."""
    record = kept(policy, guest, snapshot, tree)
    disks = layout.disks_of(policy, guest, tree)
    for name in disks_in(record):
        if name not in disks:
            raise Failure("missing", f"snapshot {snapshot} needs disk {name} of guest {guest}, which was removed")
        if not tree.get(names.snapshot(disks[name].name, snapshot)):
            message = f"disk {name} of guest {guest} was made anew after snapshot {snapshot}"
            raise Failure("conflict", f"{message}; nothing was rolled back")
    for entry in newer(policy, guest, snapshot, tree):
        if not removal.is_ours(entry):
            advice = f"destroy it (zfs destroy {entry.name}), or make a new guest of the snapshot"
            raise Failure("conflict", f"{entry.name} is newer than {snapshot} and not Skep's: {advice}")
        if entry.holds:
            advice = f"wait for the transfer that needs it, or see zfs holds {entry.name}"
            raise Failure("conflict", f"{entry.name} is newer than {snapshot} and held: {advice}")


def newer(policy: Policy, guest: str, snapshot: str, tree: Tree) -> list[Entry]:
    """Snapshots that would go: all newer ones of the disks, and Skep's of the guest itself, which belong to them.

    Newer than the snapshot of the same dataset: those of a replica came one after the other.
    """
    top = names.guest(policy, guest)
    volumes = {names.disk(policy, guest, name) for name in disks_in(kept(policy, guest, snapshot, tree))}
    at = {name: entry.txg for name in (top, *volumes) if (entry := tree.get(names.snapshot(name, snapshot)))}
    return [
        entry
        for entry in tree.snapshots()
        if entry.dataset in at and entry.txg > at[entry.dataset] and (entry.dataset != top or entry.mark("snapshot"))
    ]


def _finish(policy: Policy, guest: str, folder: Folder, snapshot: str, progress: Progress) -> None:
    """Bring back all disks and the UEFI variables, then forget the journal. Repeatable."""
    tree = layout.guest_tree(policy, guest, progress)
    record = kept(policy, guest, snapshot, tree)
    leaves = {entry.leaf for entry in newer(policy, guest, snapshot, tree) if removal.is_ours(entry)}
    _destroy(tree, leaves, names.guest(policy, guest), progress)
    disks = disks_in(record)
    for number, name in enumerate(disks):
        # Without -r: a snapshot that somebody took just now is not destroyed, the rollback fails instead.
        volume = names.disk(policy, guest, name)
        patient_zfs("rollback", names.snapshot(volume, snapshot), progress=progress, timeout=SLOW)
        progress(number + 1, len(disks))
    with mounted(policy, guest, record.name) as then:
        _bring_back(then, folder)
    folder.remove(ROLLBACK)


def _bring_back(then: Folder, folder: Folder) -> None:
    """The UEFI variables and the TPM's state as they were in the snapshot, perhaps none."""
    for name in (VARS, TPM):
        if then.exists(name):
            folder.write(name, then.read(name, limit=_LARGEST))
        else:
            folder.remove(name)


@contextmanager
def mounted(policy: Policy, guest: str, snapshot: str) -> Iterator[Folder]:
    """A snapshot of a guest's file system as a folder, for a moment. Not by way of .zfs, which may be switched off
    and on Linux needs a helper program of the kernel."""
    with open_folder(policy.run) as run_folder, run_folder.make(_MOUNTS) as mounts:
        forget_mount(mounts, guest)
        mounts.make(guest).close()
        run(["mount", "-t", "zfs", "-o", "ro", snapshot, mounts.shown(guest)])
        try:
            with open_below(policy.run, _MOUNTS, guest) as folder:
                yield folder
        finally:
            forget_mount(mounts, guest)


def forget_mount(mounts: Folder, name: str) -> None:
    """Unmount what is mounted there, also by a helper that died, and remove the place."""
    if not mounts.exists(name):
        return
    with mounts.folder(name) as place:
        busy = layout.is_mount(mounts, place)
    if busy:
        run(["umount", mounts.shown(name)])
    os.rmdir(name, dir_fd=mounts.descriptor)


# At start


def finish_interrupted(policy: Policy) -> None:
    """Finish every rollback that was interrupted; one that cannot be is told, and its guest stays as it is, refused
    by everything but a repeated rollback."""
    tree = listing.read(names.dataset(policy, names.GUESTS), depth=1)
    for entry in tree.datasets():
        if layout.is_guest(entry):
            _finish_guest(policy, entry.leaf)
    with open_folder(policy.run) as run_folder, run_folder.make(_MOUNTS) as mounts:
        for name in mounts.names():
            forget_mount(mounts, name)


def _finish_guest(policy: Policy, guest: str) -> None:
    try:
        with layout.guest_folder(policy, guest) as folder:
            record = records.read(folder, ROLLBACK, RollbackRecord)
        if record is None:
            return
        with layout.held_guest(policy, guest, unfinished=True, progress=no_progress) as folder:
            _finish(policy, guest, folder, record.snapshot, no_progress)
        log.line("recovered", guest=guest, rollback=record.snapshot)
    except (Failure, Rejected, OSError) as error:
        log.line("unfinished-rollback", guest=guest, reason=error)
