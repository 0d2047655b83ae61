"""CompareSnapshot on OpenZFS: two commands, whatever the number of disks and snapshots."""

from __future__ import annotations

from ..handlers import Context
from ..vocabulary import ChangesReading, CompareSnapshot, DiskChanges
from . import layout, names
from .snapshots import disks_in, kept, newer, require_possible
from .tool import zfs


def compare(context: Context, request: CompareSnapshot) -> ChangesReading:
    policy, guest, snapshot = context.policy, request.guest, request.snapshot
    with layout.locked_guest(policy, guest, shared=True, progress=context.progress):
        tree = layout.guest_tree(policy, guest, context.progress)
        require_possible(policy, guest, snapshot, tree)
        disks = {names.disk(policy, guest, name): name for name in disks_in(kept(policy, guest, snapshot, tree))}
        written = {}
        if disks:
            leaf = f"written@{names.SNAPSHOT}{snapshot}"
            written = parse(zfs("get", "-Hp", "-o", "name,value", leaf, *disks, progress=context.progress))
        gone = {entry.mark("snapshot") for entry in newer(policy, guest, snapshot, tree)}
        return ChangesReading(
            disks=tuple(
                DiskChanges(
                    disk=name,
                    written=written.get(dataset),
                    grown=tree.entries[dataset].size
                    - (then.size if then and then.size else tree.entries[dataset].size),
                )
                for dataset, name in disks.items()
                for then in (tree.get(names.snapshot(dataset, snapshot)),)
            ),
            newer=tuple(sorted(gone - {""})),
        )


def parse(text: str) -> dict[str, int | None]:
    """Bytes by dataset, from `zfs get -Hp -o name,value`."""
    rows = (line.split("\t") for line in text.splitlines() if "\t" in line)
    return {name: int(value) if value.isdecimal() else None for name, value, *_ in rows}
