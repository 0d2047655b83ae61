"""Storage of the simulated host: folders, disks, snapshots, images and the trash. All of it survives a power loss."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from skep_helper import vocabulary as v
from skep_helper.vocabulary.storage import SnapshotReading

from skepd.host import HostError

from .table import Table

_THIN_OVERHEAD, _BLOCK = 192 << 10, 64 << 10


@dataclass
class Disk:
    """content: a mark that stands for what the guest wrote; see SimHost.write_disk."""

    name: str
    size: int
    format: str
    edition: str
    image: str
    content: str = ""
    adopted: str = ""

    @property
    def allocated(self) -> int:
        return self.size if self.edition == "full" else _THIN_OVERHEAD


@dataclass
class Snapshot:
    created: float
    frozen: bool
    contents: dict[str, str]
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass
class Folder:
    disks: dict[str, Disk] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    seed: v.WriteSeed | None = None
    promoted: bool = True

    @property
    def seed_digest(self) -> str:
        if self.seed is None:
            return ""
        parts = (self.seed.user_data, self.seed.meta_data, self.seed.network_config)
        return hashlib.sha256("".join(f"{part}\0" for part in parts).encode()).hexdigest()


@dataclass
class Image:
    format: str
    size: int
    digest: str = ""


@dataclass
class Trash:
    """What lies under one key."""

    folders: dict[str, Folder] = field(default_factory=dict)
    disks: dict[tuple[str, str], Disk] = field(default_factory=dict)


class SimStorage:
    """attached(guest): names of the disks that a running guest has; None when it does not run."""

    def __init__(self, total: int, clock: Callable[[], float], attached: Callable[[str], set[str] | None]) -> None:
        self.total, self._clock, self._attached = total, clock, attached
        self.folders: dict[str, Folder] = {}
        self.images: dict[tuple[str, str], Image] = {}
        self.trash: dict[str, Trash] = {}
        self._writers: dict[tuple[str, str], int] = {}

    def table(self) -> Table:
        return {
            v.CreateGuestFolder: self.create_folder,
            v.TrashGuestFolder: self.trash_folder,
            v.UntrashGuestFolder: self.untrash_folder,
            v.EmptyTrash: self.empty_trash,
            v.CreateDisk: self.create_disk,
            v.GrowDisk: self.grow_disk,
            v.RemoveDisk: self.remove_disk,
            v.SnapshotGuest: self.snapshot,
            v.RollBackGuest: self.roll_back,
            v.RemoveSnapshot: self.remove_snapshot,
            v.WriteSeed: self.write_seed,
            v.PublishImage: self.publish_image,
            v.AbandonImage: self.abandon_image,
            v.RemoveImage: self.remove_image,
            v.CompareSnapshot: self.compare,
            v.ReadStorage: self.read,
        }

    # Folders

    def folder(self, guest: str) -> Folder:
        try:
            return self.folders[guest]
        except KeyError:
            raise HostError("missing", f"there is no folder of guest {guest}") from None

    def create_folder(self, request: v.CreateGuestFolder) -> dict[str, bool]:
        made = request.guest not in self.folders
        self.folders.setdefault(request.guest, Folder())
        return {"made": made}

    def trash_folder(self, request: v.TrashGuestFolder) -> None:
        trashed = self.trash.get(request.key, Trash()).folders
        if request.guest not in self.folders:
            return
        self._require_stopped(request.guest)
        if request.guest in trashed:
            raise HostError("exists", f"a folder of guest {request.guest} lies in the trash under this key already")
        self.trash.setdefault(request.key, Trash()).folders[request.guest] = self.folders.pop(request.guest)

    def untrash_folder(self, request: v.UntrashGuestFolder) -> None:
        trash = self.trash.get(request.key, Trash())
        if request.guest not in trash.folders:
            self.folder(request.guest)
            return
        if request.guest in self.folders:
            raise HostError("exists", f"there is a new folder of guest {request.guest} in the place of the trashed one")
        self.folders[request.guest] = trash.folders.pop(request.guest)
        self._drop_if_empty(request.key)

    def empty_trash(self, request: v.EmptyTrash) -> None:
        self.trash.pop(request.key, None)

    def _drop_if_empty(self, key: str) -> None:
        trash = self.trash.get(key)
        if trash is not None and not trash.folders and not trash.disks:
            del self.trash[key]

    def _require_stopped(self, guest: str) -> None:
        if self._attached(guest) is not None:
            raise HostError("busy", f"guest {guest} runs: stop it first")

    # Disks

    def create_disk(self, request: v.CreateDisk) -> dict[str, bool]:
        folder = self.folder(request.guest)
        disk = self._new_disk(request)
        there = folder.disks.get(request.disk)
        if there is not None:
            alike = (there.format, there.edition, there.image) == (disk.format, disk.edition, disk.image)
            if not alike or (there.size != disk.size if request.size else there.size < disk.size):
                raise HostError("exists", f"guest {request.guest} has another disk {request.disk} already")
            return {"made": False}
        if disk.edition == "full" and disk.size > self.free:
            raise HostError("full", f"disk {request.disk} needs {disk.size} bytes, {self.free} are free")
        folder.disks[request.disk] = disk
        return {"made": True}

    def _new_disk(self, request: v.CreateDisk) -> Disk:
        least, base, content = 0, "", ""
        if request.image is not None:
            key = (request.image, request.version or "")
            if key not in self.images:
                raise HostError("missing", f"there is no image {key[0]}:{key[1]}")
            least, base = self.images[key].size, f"{key[0]}:{key[1]}"
        elif request.source_guest is not None:
            self._require_stopped(request.source_guest)
            source = self.folder(request.source_guest).disks.get(request.disk)
            if source is None:
                raise HostError("missing", f"guest {request.source_guest} has no disk {request.disk}")
            least, base, content = source.size, source.image, source.content
        elif request.size is None:
            raise HostError("rejected", "a blank disk needs a size")
        size = request.size if request.size is not None else least
        if size < least:
            raise HostError("rejected", f"disk {request.disk} must have at least {least} bytes, the size of its image")
        return Disk(request.disk, size, request.format, request.edition, base, content)

    def disk(self, guest: str, name: str) -> Disk:
        found = self.folder(guest).disks.get(name)
        if found is None:
            raise HostError("missing", f"guest {guest} has no disk {name}")
        return found

    def grow_disk(self, request: v.GrowDisk) -> None:
        disk = self.disk(request.guest, request.disk)
        if request.size < disk.size:
            raise HostError("conflict", f"disk {request.disk} has {disk.size} bytes; a disk never shrinks")
        if disk.edition == "full" and request.size - disk.size > self.free:
            raise HostError("full", f"no space for {request.size - disk.size} more bytes")
        disk.size = request.size

    def remove_disk(self, request: v.RemoveDisk) -> None:
        place = (request.guest, request.disk)
        folder = self.folder(request.guest)
        if request.undo:
            trashed = self.trash.get(request.key, Trash()).disks
            if place not in trashed:
                self.disk(*place)
                return
            if request.disk in folder.disks:
                raise HostError("exists", f"there is a new disk {request.disk} in the place of the trashed one")
            folder.disks[request.disk] = trashed.pop(place)
            self._drop_if_empty(request.key)
            return
        if request.disk not in folder.disks:
            return
        if request.disk in (self._attached(request.guest) or ()):
            raise HostError("busy", f"guest {request.guest} runs with disk {request.disk}: stop it first")
        self.trash.setdefault(request.key, Trash()).disks[place] = folder.disks.pop(request.disk)

    # Snapshots

    def snapshot(self, request: v.SnapshotGuest) -> dict[str, bool]:
        folder = self.folder(request.guest)
        if request.snapshot not in folder.snapshots:
            frozen = request.quiesce and self._attached(request.guest) is not None
            contents = {name: disk.content for name, disk in folder.disks.items()}
            sizes = {name: disk.size for name, disk in folder.disks.items()}
            folder.snapshots[request.snapshot] = Snapshot(self._clock(), frozen, contents, sizes)
        return {"frozen": folder.snapshots[request.snapshot].frozen}

    def roll_back(self, request: v.RollBackGuest) -> None:
        folder = self.folder(request.guest)
        snapshot = folder.snapshots.get(request.snapshot)
        if snapshot is None:
            raise HostError("missing", f"guest {request.guest} has no snapshot {request.snapshot}")
        self._require_stopped(request.guest)
        for name, content in snapshot.contents.items():
            if name in folder.disks:
                folder.disks[name].content = content

    def compare(self, request: v.CompareSnapshot) -> v.ChangesReading:
        """A block for each sign of the mark that stands for what the guest wrote."""
        folder = self.folder(request.guest)
        snapshot = folder.snapshots.get(request.snapshot)
        if snapshot is None:
            raise HostError("missing", f"guest {request.guest} has no snapshot {request.snapshot}")
        found = []
        for name, content in sorted(snapshot.contents.items()):
            disk = folder.disks.get(name)
            if disk is None:
                raise HostError("missing", f"snapshot {request.snapshot} needs disk {name}, which was removed")
            written = 0 if disk.content == content else (1 + len(disk.content)) * _BLOCK
            found.append(
                v.DiskChanges(disk=name, written=written, grown=disk.size - snapshot.sizes.get(name, disk.size))
            )
        return v.ChangesReading(disks=tuple(found))

    def remove_snapshot(self, request: v.RemoveSnapshot) -> None:
        self.folder(request.guest).snapshots.pop(request.snapshot, None)

    def write_seed(self, request: v.WriteSeed) -> None:
        self.folder(request.guest).seed = request

    # Images

    def open_writer(self, request: v.OpenImageWriter) -> int:
        key = (request.image, request.version)
        if key in self.images:
            raise HostError("exists", f"image {key[0]}:{key[1]} is there already")
        if key not in self._writers:
            if request.size > self.free:
                raise HostError("full", f"the image needs {request.size} bytes, {self.free} are free")
            descriptor, path = tempfile.mkstemp(prefix="skep-sim-image-")
            os.unlink(path)
            self._writers[key] = descriptor
        os.truncate(self._writers[key], request.size)
        return os.dup(self._writers[key])

    def publish_image(self, request: v.PublishImage) -> None:
        key = (request.image, request.version)
        there = self.images.get(key)
        if there is not None:
            if there.digest != request.digest:
                raise HostError("exists", f"another image {key[0]}:{key[1]} is there already")
            return
        descriptor = self._writers.pop(key, None)
        if descriptor is None:
            raise HostError("missing", f"nothing was written for image {key[0]}:{key[1]}")
        self.images[key] = Image(request.format, os.fstat(descriptor).st_size, request.digest)
        os.close(descriptor)

    def abandon_image(self, request: v.AbandonImage) -> None:
        descriptor = self._writers.pop((request.image, request.version), None)
        if descriptor is not None:
            os.close(descriptor)

    def remove_image(self, request: v.RemoveImage) -> None:
        users = self.users(f"{request.image}:{request.version}")
        if users:
            raise HostError("conflict", f"{users} disks are linked to image {request.image}:{request.version}")
        self.images.pop((request.image, request.version), None)

    def users(self, image: str) -> int:
        return sum(disk.image == image and disk.edition == "thin" for disk in self._all_disks())

    def _all_disks(self) -> Iterator[Disk]:
        folders = [
            *self.folders.values(),
            *(folder for trash in self.trash.values() for folder in trash.folders.values()),
        ]
        for folder in folders:
            yield from folder.disks.values()
        for trash in self.trash.values():
            yield from trash.disks.values()

    def close(self) -> None:
        for descriptor in self._writers.values():
            os.close(descriptor)
        self._writers.clear()

    # Reading

    @property
    def free(self) -> int:
        images = sum(image.size for image in self.images.values())
        return max(0, self.total - images - sum(disk.allocated for disk in self._all_disks()))

    def read(self, request: v.ReadStorage) -> v.StorageReading:
        users: dict[str, int] = {}
        for disk in self._all_disks():
            if disk.edition == "thin":
                users[disk.image] = users.get(disk.image, 0) + 1
        return v.StorageReading(
            folders=tuple(self._read_folder(name, folder) for name, folder in sorted(self.folders.items())),
            images=tuple(
                v.ImageReading(
                    image=name,
                    version=version,
                    format=image.format,
                    size=image.size,
                    digest=image.digest,
                    users=users.get(f"{name}:{version}", 0),
                )
                for (name, version), image in sorted(self.images.items())
            ),
            free=self.free,
            total=self.total,
            trash=tuple(sorted(self.trash)),
        )

    def _read_folder(self, guest: str, folder: Folder) -> v.FolderReading:
        return v.FolderReading(
            guest=guest,
            disks=tuple(
                v.DiskReading(
                    guest=guest,
                    disk=disk.name,
                    format=disk.format,
                    size=disk.size,
                    allocated=disk.allocated,
                    edition=disk.edition,
                    image=disk.image,
                    adopted=disk.adopted,
                )
                for _, disk in sorted(folder.disks.items())
            ),
            snapshots=tuple(
                SnapshotReading(
                    snapshot=name,
                    created=snapshot.created,
                    disks=tuple(sorted(snapshot.contents)),
                    frozen=snapshot.frozen,
                )
                for name, snapshot in sorted(folder.snapshots.items())
            ),
            seed_digest=folder.seed_digest,
            promoted_here=folder.promoted,
        )
