"""Requests that grow a disk, and move one to the trash and back."""

from __future__ import annotations

from contextlib import ExitStack

from ..guard import client as guard
from ..handlers import Context, Failure
from ..policy import Policy
from ..vocabulary import GrowDisk, RemoveDisk
from . import folders, layout, listing, names, nodes, removal
from .creation import whole_blocks
from .names import DISKS, NEW, TRASH
from .tool import patient_zfs, zfs


def attached(policy: Policy, guest: str) -> frozenset[str]:
    """The disks that a guest's VMM has open: those it was started with; none when the guest does not run."""
    if not guard.is_running(policy, guest):
        return frozenset()
    return frozenset((guard.read(policy, guest) or {}).get("disks", ()))


def grow_disk(context: Context, request: GrowDisk) -> None:
    """A running guest is told in any case: a former request may have died before it did."""
    policy, progress = context.policy, context.progress
    what = f"disk {request.disk} of guest {request.guest}"
    with ExitStack() as stack:
        stack.enter_context(layout.held_guest(policy, request.guest, shared=True, progress=progress))
        stack.enter_context(layout.locked_disk(policy, request.guest, request.disk, progress))
        disk = layout.disk_of(policy, request.guest, request.disk, layout.guest_tree(policy, request.guest, progress))
        wanted = whole_blocks(request.size, disk.block)
        if wanted < disk.size:
            raise Failure("conflict", f"{what} has {disk.size} bytes; a disk never shrinks to {request.size}")
        if wanted > disk.size:
            zfs("set", f"volsize={wanted}", disk.name, progress=progress)
        if disk.mark("disk") == "full" and (wanted > disk.size or not disk.reserved):
            zfs("set", "refreservation=auto", disk.name, progress=progress)
        if request.disk in attached(policy, request.guest):
            guard.grow(policy, request.guest, request.disk, wanted)


def remove_disk(context: Context, request: RemoveDisk) -> None:
    """To the trash or back, with its snapshots."""
    policy, progress = context.policy, context.progress
    here = names.disk(policy, request.guest, request.disk)
    there = names.dataset(policy, TRASH, request.key, f"{request.guest}{DISKS}", request.disk)
    with ExitStack() as stack:
        stack.enter_context(layout.held_guest(policy, request.guest, progress=progress))
        if request.disk in attached(policy, request.guest):
            raise Failure("busy", f"guest {request.guest} runs with disk {request.disk}; stop it before it is moved")
        tree = layout.guest_tree(policy, request.guest, progress)
        # What a killed CreateDisk left: nobody makes this disk now, the guest is held.
        if tree.get(f"{here}{NEW}"):
            removal.remove(policy, f"{here}{NEW}", progress)
        in_guest = tree.get(here)
        in_trash = listing.read(there, depth=0).get(there)
        if in_guest and not layout.is_disk(in_guest):
            raise Failure("conflict", f"{here} was not made by Skep; nothing was moved")
        found, target = (in_trash, in_guest) if request.undo else (in_guest, in_trash)
        if found and target:
            raise Failure("exists", f"{target.name} is there already; nothing was moved")
        if found and request.undo:
            patient_zfs("rename", there, here, progress=progress)
            nodes.await_node(here, progress)
        elif found:
            with folders.bin_of(policy, request.key, request.guest, progress):
                patient_zfs("rename", here, there, progress=progress)
        elif request.undo and not target:
            raise Failure("missing", f"the trash holds no disk {request.disk} of guest {request.guest}")
        if request.undo:
            folders.prune(policy, request.key, progress)
