"""Snapshots of a guest: one internal snapshot in every disk, a copy of the UEFI variables and of the TPM's state, then
the record, whose presence makes the snapshot exist. A rollback is journalled: once begun it is finished, also after a
crash."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from skep_helper import log
from skep_helper.guard import client as guard
from skep_helper.handlers import Context, Failure
from skep_helper.paths import Folder
from skep_helper.policy import Policy
from skep_helper.storage import copying, differences, qcow2, records, tool
from skep_helper.storage.records import RollbackRecord, SnapshotRecord
from skep_helper.vocabulary import (
    ChangesReading,
    CompareSnapshot,
    DiskChanges,
    Rejected,
    RemoveSnapshot,
    RollBackGuest,
    SnapshotGuest,
)

from . import layout
from .disks import OpenDisk, attached, disks_folder, file_of, names, opened

Progress = Callable[[int, int], None]


def snapshot(context: Context, request: SnapshotGuest) -> dict[str, bool]:
    policy = context.policy
    with ExitStack() as stack:
        folder = stack.enter_context(layout.held_guest(policy, request.guest, progress=context.progress))
        disks = stack.enter_context(disks_folder(folder))
        snapshots = stack.enter_context(folder.make(layout.SNAPSHOTS))
        target = stack.enter_context(snapshots.make(request.snapshot))
        if record := records.read(target, layout.RECORD, SnapshotRecord):
            return {"frozen": record.frozen}
        found = names(disks)
        _require_qcow2(request.guest, disks, found)
        running = attached(policy, request.guest)
        _drop(context, request.guest, request.snapshot, disks, running)
        frozen = _take(context, request, disks, found, running)
        kept = _copy_file(folder, target, layout.VARS, context.progress)
        _copy_file(folder, target, layout.TPM, context.progress)
        record = SnapshotRecord(created=time.time(), disks=tuple(found), frozen=frozen, vars=kept)
        records.write(target, layout.RECORD, record)
        return {"frozen": frozen}


def _require_qcow2(guest: str, disks: Folder, found: list[str]) -> None:
    for disk in found:
        if file_of(disks, disk) != (f"{disk}.qcow2", "qcow2"):
            raise Failure(
                "unsupported",
                f"disk {disk} of guest {guest} is raw, and raw files have no snapshots; use qcow2 or a ZFS pool",
            )


def _take(context: Context, request: SnapshotGuest, disks: Folder, found: list[str], running: frozenset[str]) -> bool:
    """Disks that a VMM has open by that VMM, at one instant; the others are at rest, so theirs is any instant."""
    frozen = bool(running) and guard.snapshot(context.policy, request.guest, request.snapshot, request.quiesce)
    for number, name in enumerate(found):
        if name not in running:
            with opened(context.policy, disks, name) as disk:
                doing = f"snapshot {request.snapshot} of"
                _work(context.policy, disk, ["-c", request.snapshot], doing, context.progress)
        context.progress(number + 1, len(found))
    return frozen


def _work(policy: Policy, disk: OpenDisk, arguments: list[str], doing: str, progress: Progress) -> None:
    """One qemu-img snapshot command on one disk, durable."""
    what = f"{doing} disk {disk.name}"
    command = ["snapshot", "-q", *arguments, disk.node]
    tool.qemu_img(policy, command, disk.descriptors, what, progress)
    os.fsync(disk.descriptor)


def _in_table(disk: OpenDisk, snapshot: str) -> list[qcow2.Snapshot]:
    if disk.format != "qcow2":
        return []
    try:
        return [entry for entry in qcow2.read_snapshots(disk.descriptor) if entry.name == snapshot]
    except Rejected as error:
        raise Failure("failed", f"disk {disk.name} is damaged: {error}; see qemu-img check") from None


def _drop(context: Context, guest_name: str, snapshot: str, disks: Folder, running: frozenset[str]) -> None:
    """Remove what there is of a snapshot in the disks; nothing is started when there is nothing."""
    asked = False
    for name in names(disks):
        with opened(context.policy, disks, name) as disk:
            found = _in_table(disk, snapshot)
            if name in running:
                if found and not asked:
                    guard.remove_snapshot(context.policy, guest_name, snapshot)
                    asked = True
                continue
            for _ in found:
                _work(context.policy, disk, ["-d", snapshot], f"removing snapshot {snapshot} of", context.progress)


def _copy_file(source: Folder, target: Folder, name: str, progress: Progress) -> bool:
    """Copy a file durably under the same name; False when there is none."""
    temporary = f".{name}.new"
    with ExitStack() as stack:
        try:
            reader = source.open(name)
        except FileNotFoundError:
            return False
        stack.callback(os.close, reader)
        target.remove(temporary, durable=False)
        writer = target.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        stack.callback(os.close, writer)
        copying.copy_sparse(reader, writer, progress)
        os.fsync(writer)
        target.rename(temporary, target, name)
    return True


def remove(context: Context, request: RemoveSnapshot) -> None:
    """The record goes first: from then on there is no such snapshot, whatever happens next."""
    policy = context.policy
    with ExitStack() as stack:
        folder = stack.enter_context(layout.held_guest(policy, request.guest, progress=context.progress))
        disks = stack.enter_context(disks_folder(folder))
        snapshots = stack.enter_context(folder.make(layout.SNAPSHOTS))
        with suppress(FileNotFoundError), snapshots.folder(request.snapshot) as target:
            target.remove(layout.RECORD)
        _drop(context, request.guest, request.snapshot, disks, attached(policy, request.guest))
        snapshots.remove_tree(request.snapshot)


def roll_back(context: Context, request: RollBackGuest) -> None:
    policy = context.policy
    with ExitStack() as stack:
        folder = stack.enter_context(
            layout.held_guest(policy, request.guest, unfinished=True, progress=context.progress)
        )
        if guard.is_running(policy, request.guest):
            raise Failure("busy", f"guest {request.guest} is running; stop it before it is rolled back")
        _require_complete(policy, request.guest, folder, request.snapshot)
        records.write(folder, layout.ROLLBACK, RollbackRecord(snapshot=request.snapshot))
        _finish(policy, folder, request.snapshot, context.progress)


def compare(context: Context, request: CompareSnapshot) -> ChangesReading:
    """A rollback removes no other snapshot: each is whole within its disk."""
    policy, guest_name = context.policy, request.guest
    with ExitStack() as stack:
        folder = stack.enter_context(layout.held_guest(policy, guest_name, shared=True, progress=context.progress))
        _require_complete(policy, guest_name, folder, request.snapshot)
        disks = stack.enter_context(disks_folder(folder))
        found = []
        for name in _kept(guest_name, folder, request.snapshot).disks:
            with opened(policy, disks, name) as disk:
                found.append(_changes(disk, request.snapshot))
        return ChangesReading(disks=tuple(found))


def _changes(disk: OpenDisk, snapshot: str) -> DiskChanges:
    (then, *_) = _in_table(disk, snapshot)
    try:
        written = differences.written_since(disk.descriptor, then)
    except Rejected as error:
        raise Failure("failed", f"disk {disk.name} is damaged: {error}; see qemu-img check") from None
    return DiskChanges(disk=disk.name, written=written, grown=disk.size() - (then.size or disk.size()))


def _kept(guest: str, folder: Folder, snapshot: str) -> SnapshotRecord:
    with suppress(FileNotFoundError), folder.folder(layout.SNAPSHOTS) as snapshots, snapshots.folder(snapshot) as kept:
        if record := records.read(kept, layout.RECORD, SnapshotRecord):
            return record
    raise Failure("missing", f"guest {guest} has no snapshot {snapshot}")


def _require_complete(policy: Policy, guest: str, folder: Folder, snapshot: str) -> None:
    """Every disk of the snapshot must be there and hold it: all are rolled back or none."""
    record = _kept(guest, folder, snapshot)
    with disks_folder(folder) as disks:
        for name in record.disks:
            if not file_of(disks, name):
                raise Failure("missing", f"snapshot {snapshot} needs disk {name} of guest {guest}, which was removed")
            with opened(policy, disks, name) as disk:
                if not _in_table(disk, snapshot):
                    message = f"disk {name} of guest {guest} was made anew after snapshot {snapshot}"
                    raise Failure("conflict", f"{message}; nothing was rolled back")


def _finish(policy: Policy, folder: Folder, snapshot: str, progress: Progress) -> None:
    """Bring back all disks and the UEFI variables, then forget the journal. Repeatable."""
    guest_name = os.path.basename(folder.path)
    record = _kept(guest_name, folder, snapshot)
    with ExitStack() as stack:
        disks = stack.enter_context(disks_folder(folder))
        for number, name in enumerate(record.disks):
            with opened(policy, disks, name) as disk:
                # By its number: qemu-img would take a name that looks like a number for another one's.
                for entry in _in_table(disk, snapshot)[:1]:
                    _work(policy, disk, ["-a", entry.identity], f"rolling back to {snapshot}:", progress)
            progress(number + 1, len(record.disks))
        snapshots = stack.enter_context(folder.folder(layout.SNAPSHOTS))
        kept = stack.enter_context(snapshots.folder(snapshot))
        if record.vars:
            _copy_file(kept, folder, layout.VARS, progress)
        else:
            folder.remove(layout.VARS)
        if not _copy_file(kept, folder, layout.TPM, progress):
            folder.remove(layout.TPM)
    folder.remove(layout.ROLLBACK)


def _silent(done: int, total: int) -> None:
    """At start nobody listens."""


def finish_interrupted(policy: Policy) -> None:
    """At start: finish every rollback that was interrupted; one that cannot be is told, and its guest stays as it
    is, refused by everything but a repeated rollback."""
    with layout.pool_folder(policy, layout.GUESTS) as guests:
        for guest_name in guests.names():
            if guests.exists(guest_name):
                _finish_guest(policy, guests, guest_name)


def _finish_guest(policy: Policy, guests: Folder, guest_name: str) -> None:
    try:
        with guests.folder(guest_name) as folder:
            record = records.read(folder, layout.ROLLBACK, RollbackRecord)
        if record is None:
            return
        with layout.held_guest(policy, guest_name, unfinished=True, progress=_silent) as folder:
            _finish(policy, folder, record.snapshot, _silent)
        log.line("recovered", guest=guest_name, rollback=record.snapshot)
    except (Failure, Rejected, OSError) as error:
        log.line("unfinished-rollback", guest=guest_name, reason=error)
