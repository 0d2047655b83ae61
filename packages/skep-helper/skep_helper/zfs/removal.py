"""Datasets that go for good: only what Skep made, and never what others still need."""

from __future__ import annotations

from ..handlers import Failure
from ..policy import Policy
from ..storage.locks import Progress
from . import listing, names
from .listing import Entry, Tree
from .tool import SLOW, patient_zfs, zfs


def remove(policy: Policy, name: str, progress: Progress | None = None) -> None:
    """Destroy a dataset with everything in it. Disks elsewhere that are clones of something in it take over what they
    need (zfs promote). Repeatable. Raises Failure(conflict), nothing destroyed, for what is not Skep's."""
    tree = listing.read(name, progress=progress)
    if not tree.get(name):
        return
    require_ours(policy, tree, snapshots=True)
    _hand_over(policy, name, progress)
    patient_zfs("destroy", "-r", name, progress=progress)


def require_ours(policy: Policy, tree: Tree, *, snapshots: bool = False) -> None:
    """Raise Failure(conflict) naming a dataset that Skep did not make; with `snapshots` also for a snapshot."""
    for entry in tree.entries.values():
        if entry.kind == "snapshot":
            if snapshots and not is_ours(entry):
                move = f"destroy it (zfs destroy {entry.name}) or keep it elsewhere (zfs send)"
                raise Failure("conflict", f"snapshot {entry.name} was not taken by Skep: {move}, then try again")
        elif not _is_known(policy, entry):
            move = f"move it elsewhere (zfs rename {entry.name} ...)"
            raise Failure("conflict", f"{entry.name} was not made by Skep: {move}, then try again")


def is_ours(snapshot: Entry) -> bool:
    """Of a snapshot: one that was asked for, the one that an image is (or that came with a copy of it whose maker died:
    a copy has the marks of a disk), or one that a disk was cloned from."""
    copied = snapshot.dataset.endswith(names.NEW) and bool(snapshot.mark("disk"))
    sealed = snapshot.leaf == names.SEALED and (bool(snapshot.mark("format")) or copied)
    return sealed or bool(snapshot.mark("snapshot")) or snapshot.leaf.startswith(names.COPY)


def _is_known(policy: Policy, entry: Entry) -> bool:
    """Where a file system may be follows from the layout: an area, a key, a guest. Volumes carry marks of their own
    kind, which nothing above them has."""
    if entry.kind == "volume":
        return bool(entry.mark("disk") or entry.mark("format"))
    parts = entry.name.removeprefix(f"{policy.dataset}/").split("/")
    if parts[0] == names.GUESTS:
        return len(parts) == 2 and bool(entry.mark("guest"))
    # In the trash: a key, what is below it (a guest, or the disks of one); nothing deeper is a file system.
    return parts[0] == names.TRASH and 2 <= len(parts) <= 3


def _hand_over(policy: Policy, doomed: str, progress: Progress | None) -> None:
    """Promote clones that live on. A promoted clone takes the snapshots with it that it needs, and all older ones of
    the same volume: those that nobody needs are destroyed before."""
    while (found := _dependent(doomed)) is not None:
        snapshot, clone, older = found
        if not clone.startswith(f"{policy.dataset}/"):
            advice = f"promote it (zfs promote {clone}) or destroy it, then try again"
            raise Failure("conflict", f"{clone} was not made by Skep and is a clone of {snapshot}: {advice}")
        for name in older:
            zfs("destroy", "-d", name, progress=progress, timeout=SLOW)
        zfs("promote", clone, progress=progress)


def _dependent(doomed: str) -> tuple[str, str, list[str]] | None:
    """A snapshot below the doomed dataset, a clone of it that lives elsewhere, older snapshots without any clone."""
    lines = zfs("list", "-Hp", "-r", "-t", "snapshot", "-s", "createtxg", "-o", "name,clones", doomed).splitlines()
    rows = [(name, clones) for name, clones in (line.split("\t") for line in lines)]
    for index, (name, clones) in enumerate(rows):
        for clone in clones.split(","):
            if clone not in ("-", "") and clone != doomed and not clone.startswith(f"{doomed}/"):
                volume = name.partition("@")[0]
                older = [row for row, used in rows[:index] if row.startswith(f"{volume}@") and used in ("-", "")]
                return name, clone, older
    return None
