"""Replicas become guests, and snapshots leave bookmarks behind."""

from __future__ import annotations

import os
import stat

from ...handlers import Context, Failure
from ...paths import Folder
from ...policy import Policy
from ...storage.definition import make_definition
from ...users import user_of
from ...vocabulary import BookmarkSnapshot, PromoteGuest
from .. import layout, names
from ..identity import host_id
from ..tool import patient_zfs, zfs
from . import parts

_DEFINITION = "definition"


def promote(context: Context, request: PromoteGuest) -> None:
    """The mark comes last: as long as it is not there, all of this may be done again."""
    policy, guest = context.policy, request.guest
    with layout.locked_guest(policy, guest, progress=context.progress):
        there = parts.read(policy, guest)
        if not there.parts:
            raise Failure("missing", f"there is no guest {guest} on this host; receive its folder first")
        if there.promoted_here:
            return
        for part in there.parts:
            if part.token:
                what = parts.named(guest, part.disk or None)
                raise Failure("conflict", f"{what}: a stream was interrupted; resume or abandon it, then promote")
        layout.guest_tree(policy, guest)
        name = names.guest(policy, guest)
        patient_zfs("inherit", "-r", "readonly", name, progress=context.progress)
        zfs("set", "canmount=on", name)
        with layout.guest_folder(policy, guest) as folder:
            _hand_over(policy, folder)
        zfs("set", f"skep:host={host_id()}", name)


def _hand_over(policy: Policy, folder: Folder) -> None:
    """skepd's part of the folder belonged to another host's skepd. Plain files with one name only: what came in a
    stream may be anything."""
    user, group = user_of(policy)
    os.fchown(folder.descriptor, -1, group)
    os.fchmod(folder.descriptor, 0o750)
    make_definition(policy, folder)
    # Root's while it is looked at: nobody else can change it then, and only such a folder is opened.
    os.chown(_DEFINITION, 0, -1, dir_fd=folder.descriptor, follow_symlinks=False)
    with folder.folder(_DEFINITION) as definition:
        for name in definition.names():
            status = os.stat(name, dir_fd=definition.descriptor, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                os.chown(name, user, group, dir_fd=definition.descriptor, follow_symlinks=False)
        os.fchmod(definition.descriptor, 0o700)
        os.fchown(definition.descriptor, user, group)
        definition.sync()
    folder.sync()


def bookmark(context: Context, request: BookmarkSnapshot) -> None:
    policy, guest = context.policy, request.guest
    with layout.locked_guest(policy, guest, progress=context.progress):
        there = parts.read(policy, guest)
        found = False
        for part in there.parts:
            kinds = {point.kind for point in part.points if point.name == request.snapshot}
            dataset = parts.dataset(policy, guest, part.disk or None)
            mark = f"{dataset}#{names.SNAPSHOT}{request.snapshot}"
            if request.remove and "bookmark" in kinds:
                zfs("destroy", mark)
            elif not request.remove and kinds == {"snapshot"}:
                zfs("bookmark", names.snapshot(dataset, request.snapshot), mark)
            found = found or bool(kinds)
    if not found and not request.remove:
        raise Failure("missing", f"guest {guest} has no snapshot {request.snapshot}")
