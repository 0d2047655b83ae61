"""What the guard does with a running guest's disks and media, by QEMU's monitor and the guest's agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...guard.freezing import Freezer
from ...guard.loop import Loop, Task
from ...guard.protocol import GuardError
from ...guard.state import Folder, write_durably
from .qmp import Qmp


class Disks:
    """Keys of the state that belong here: "disks" maps names to [block node, format]. "media" maps device ids to
    ["IMAGE:VERSION", descriptor set] of media that leave at the first reboot; "detached" lists those that did, as does
    the file "detached_file" beside the disks. "frozen": see guard.freezing."""

    def __init__(
        self, loop: Loop, folder: Folder, state: dict[str, Any], changed: Callable[[], None], qmp: Qmp
    ) -> None:
        self._freezer = Freezer(loop, folder.agent, state, changed)
        self._state = state
        self._changed = changed
        self._qmp = qmp
        self._busy = False

    def snapshot(self, name: str, quiesce: bool) -> Task:
        """Snapshot all disks at one instant; returns whether the guest's file systems were frozen.

        A snapshot of this name inside the disks is debris of an attempt that was cut off, and replaced.
        """
        if self._busy:
            raise GuardError("busy", "another snapshot of this guest is being taken")
        for disk, (_, format) in self._state["disks"].items():
            if format != "qcow2":
                raise GuardError("unsupported", f"disk {disk} is {format}; a running guest's must be qcow2 (stop it)")
        self._busy = True
        try:
            yield from self.remove_snapshot(name)
            return (yield from self._snapshot(name, quiesce))
        finally:
            self._busy = False

    def _snapshot(self, name: str, quiesce: bool) -> Task:
        yield from self.thaw()
        frozen = quiesce and (yield from self._freezer.freeze())
        try:
            actions = [
                {"type": "blockdev-snapshot-internal-sync", "data": {"device": node, "name": name}}
                for node, _ in self._state["disks"].values()
            ]
            if actions:
                yield self._qmp.execute("transaction", {"actions": actions})
        finally:
            yield from self.thaw()
        return frozen

    def remove_snapshot(self, name: str) -> Task:
        """Remove it from every disk that has it."""
        nodes = yield self._qmp.execute("query-named-block-nodes", {"flat": True})
        having = {
            item["node-name"]
            for item in nodes
            if any(snapshot["name"] == name for snapshot in item["image"].get("snapshots", ()))
        }
        for node, _ in self._state["disks"].values():
            if node in having:
                yield self._qmp.execute("blockdev-snapshot-delete-internal-sync", {"device": node, "name": name})

    def grow(self, disk: str, size: int) -> Task:
        if disk not in self._state["disks"]:
            raise GuardError("missing", f"the running guest has no disk {disk}; it comes with its next start")
        node, _ = self._state["disks"][disk]
        yield self._qmp.execute("block_resize", {"node-name": node, "size": size})

    def detach_media(self) -> Task:
        """Take media out that were to stay until the first reboot."""
        for device, (medium, number) in tuple(self._state["media"].items()):
            yield self._qmp.execute("blockdev-open-tray", {"id": device, "force": True})
            yield self._qmp.execute("blockdev-remove-medium", {"id": device})
            yield self._qmp.execute("blockdev-close-tray", {"id": device})
            yield self._qmp.execute("blockdev-del", {"node-name": device})
            yield self._qmp.execute("remove-fd", {"fdset-id": number})
            del self._state["media"][device]
            self._state["detached"].append(medium)
            self._state["media_detached"] = True
            write_durably(self._state["detached_file"], self._state["detached"])
            self._changed()

    def freeze(self, seconds: float) -> Task:
        if self._busy:
            raise GuardError("busy", "another snapshot of this guest is being taken")
        return (yield from self._freezer.freeze_for(seconds))

    def thaw(self) -> Task:
        return (yield from self._freezer.thaw())
