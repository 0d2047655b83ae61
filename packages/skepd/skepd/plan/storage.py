"""Steps for guests' folders, disks and seeds."""

from __future__ import annotations

from collections.abc import Callable

from skep_helper.vocabulary import (
    CreateDisk,
    CreateGuestFolder,
    DiskReading,
    EmptyTrash,
    FolderReading,
    GrowDisk,
    RemoveDisk,
    TrashGuestFolder,
    UntrashGuestFolder,
    WriteSeed,
)

from skepd.model.names import Kind
from skepd.model.objects import Disk, Guest
from skepd.model.profiles import block_size

from .adopting import give_back, take_disk, take_variables
from .builder import Phase, guest_ref
from .checks import check_guest
from .context import Context
from .images import Images
from .show import size_text
from .steps import Request, Step
from .translate_guest import image_version
from .translate_seed import Seed

ALIVE = ("running", "paused", "stopping")


class Storage:
    """Brings folders, disks and seeds to what is defined.

    Two trash keys for each guest: one for what the plan deletes, one for what it made and undoes. So undoing never
    empties a trash that holds anything but the plan's own, still empty, makings.
    """

    def __init__(self, context: Context, images: Images) -> None:
        self._context, self._images = context, images
        self._trashed: set[str] = set()

    def plan(self) -> None:
        context = self._context
        folders, facts = context.observed.folder_of, context.facts
        for name, guest in context.after.guests.items():
            problem = check_guest(guest, facts)
            if problem:
                context.problem(guest_ref(name), problem)
                continue
            folder = folders.get(name)
            if self._plan_folder(guest, folder):
                self._plan_disks(guest, folder)
                take_variables(context, name)
                if guest.cloud_init is not None:
                    self._plan_seed(guest, folder)
        for name in context.differences[Kind.GUEST].removed:
            if name in folders and give_back(context, folders[name]):
                self._trash_folder(name)
        for name in self._trashed:
            summary = f"empty the trash of guest {name} (for good)"
            self._add(Phase.EMPTY_TRASH, "remove", name, summary, EmptyTrash(key=self._key(name)), None)

    def _key(self, guest: str) -> str:
        return self._context.key(f"delete {guest}")

    def _undo(self, guest: str, request: Callable[[str], Request]) -> tuple[Request, ...]:
        """Into the trash, under a key that nothing else has, and out of it for good."""
        key = self._context.key(f"undo {guest}")
        return (request(key), EmptyTrash(key=key))

    def _plan_folder(self, guest: Guest, folder: FolderReading | None) -> bool:
        """Whether the guest has a folder, or will have one."""
        context, name = self._context, guest.name
        known = name in context.before.guests
        if folder is not None:
            if known or name in context.options.adopt:
                return True
            advice = "adopt it, or move it away"
            context.problem(guest_ref(name), f"there is a folder of guest {name} already, in no definition: {advice}")
            return False
        if known and name not in context.options.recreate:
            advice = "import it again (is its pool there?), delete the guest, or let it be made anew, empty"
            context.problem(guest_ref(name), f"the folder of guest {name} is gone: {advice}")
            return False
        undo = self._undo(name, lambda key: TrashGuestFolder(guest=name, key=key))
        summary = f"create the folder of guest {name}"
        self._add(Phase.FOLDER, "create", name, summary, CreateGuestFolder(guest=name), undo)
        return True

    def _plan_disks(self, guest: Guest, folder: FolderReading | None) -> None:
        there = {disk.disk: disk for disk in folder.disks} if folder is not None else {}
        before = self._context.before.guests.get(guest.name)
        old = {disk.name: disk for disk in before.disks} if before is not None and before is not guest else None
        for disk in guest.disks:
            reading = there.pop(disk.name, None)
            if reading is None and take_disk(self._context, guest.name, disk.name):
                continue
            if reading is None:
                lost = before is not None and any(had.name == disk.name for had in before.disks)
                self._create_disk(guest, disk, lost)
            elif disk.size is not None and disk.size != reading.size:
                self._resize_disk(guest, disk, reading, old)
            if reading is not None and old is not None and old.get(disk.name) != disk:
                self._note_kept(guest, disk, reading)
        for name in there:
            if old is not None and name in old:
                self._remove_disk(guest, name)
            else:
                text = f"disk {guest.name}/{name} is on the host but in no definition: left alone"
                self._context.build.note(guest_ref(guest.name), text)

    def _create_disk(self, guest: Guest, disk: Disk, lost: bool) -> None:
        context, ref = self._context, guest_ref(guest.name)
        if lost and guest.name not in context.options.recreate:
            advice = "roll it back, restore it, or let it be made anew, empty"
            context.problem(ref, f"disk {guest.name}/{disk.name} is defined but gone: {advice}")
            return
        image, version, size = None, None, disk.size
        if disk.image is not None:
            image, version = image_version(disk.image, context.after.images)
            if not self._images.need(ref, image, version):
                return
            reading = context.observed.image_of.get((image, version))
            if reading is not None and size is not None and size < reading.size:
                least = size_text(reading.size)
                context.problem(ref, f"disk {guest.name}/{disk.name} is smaller than image {image}: at least {least}")
                return
            size = size if size is not None or reading is None else reading.size
        elif size is None:
            context.problem(ref, f"disk {guest.name}/{disk.name} needs a size or an image")
            return
        disk_format = disk.format or context.facts.disk_format
        lacking = context.facts.missing.get("zfs" if disk_format == "zvol" else "files")
        if lacking is not None:
            context.problem(ref, f"disk {guest.name}/{disk.name}: no {disk_format} here, {lacking}")
            return
        request = CreateDisk(
            guest=guest.name,
            disk=disk.name,
            size=size,
            format=disk_format,
            edition=disk.edition,
            image=image,
            version=version,
            block=block_size(guest) if disk_format == "zvol" and image is None else None,
        )
        words = f"{size_text(size) if size else 'size of its image'}, {disk.edition}"
        words += f", from image {image}:{version}" if image else ""
        undo = self._undo(guest.name, lambda key: RemoveDisk(guest=guest.name, disk=disk.name, key=key))
        self._add(Phase.DISK, "create", guest.name, f"create disk {guest.name}/{disk.name}, {words}", request, undo)

    def _resize_disk(self, guest: Guest, disk: Disk, reading: DiskReading, old: dict[str, Disk] | None) -> None:
        assert disk.size is not None
        name = f"{guest.name}/{disk.name}"
        if disk.size > reading.size:
            request = GrowDisk(guest=guest.name, disk=disk.name, size=disk.size)
            words = f"grow disk {name} from {size_text(reading.size)} to {size_text(disk.size)}"
            # Not undone: a disk never shrinks, and one that is larger than defined harms nobody.
            self._add(Phase.DISK, "change", guest.name, words, request, ())
            return
        text = f"disk {name} is {size_text(reading.size)} and never shrinks to {size_text(disk.size)}"
        had = old.get(disk.name) if old is not None else None
        if had is not None and had.size != disk.size and (had.size is None or had.size > disk.size):
            advice = f"write {size_text(reading.size)}, or make a new disk and copy"
            self._context.build.note(guest_ref(guest.name), f"{text}: {advice}", refuses=True)
        else:
            self._context.build.note(guest_ref(guest.name), text)

    def _note_kept(self, guest: Guest, disk: Disk, reading: DiskReading) -> None:
        """Say what of a changed definition an existing disk does not follow."""
        image = ":".join(image_version(disk.image, self._context.after.images)) if disk.image else ""
        kept = []
        if image != reading.image:
            kept.append(f"made from {reading.image or 'no image'}")
        if disk.format is not None and disk.format != reading.format:
            kept.append(reading.format)
        if disk.edition != reading.edition:
            kept.append(reading.edition)
        if kept:
            text = f"disk {guest.name}/{disk.name} stays as it is ({', '.join(kept)}): a disk is never made anew"
            self._context.build.note(guest_ref(guest.name), text)

    def _remove_disk(self, guest: Guest, disk: str) -> None:
        context = self._context
        reading = context.observed.guest_of.get(guest.name)
        stops = guest.power == "off" or context.options.may_restart(guest.name)
        if reading is not None and reading.state in ALIVE and not stops:
            text = f"disk {guest.name}/{disk} cannot be removed while the guest runs: stop it, or allow its restart"
            context.build.note(guest_ref(guest.name), text, refuses=True)
            return
        self._trashed.add(guest.name)
        key = self._key(guest.name)
        request = RemoveDisk(guest=guest.name, disk=disk, key=key)
        undo = (RemoveDisk(guest=guest.name, disk=disk, key=key, undo=True),)
        self._add(Phase.DETACH, "remove", guest.name, f"move disk {guest.name}/{disk} to the trash", request, undo)

    def _plan_seed(self, guest: Guest, folder: FolderReading | None) -> None:
        context, name = self._context, guest.name
        seed = context.translated(Kind.GUEST, name, context.now.seed)
        if seed is None or (folder is not None and folder.seed_digest == seed.digest):
            return
        undo: tuple[Request, ...] = ()
        if folder is not None and folder.seed_digest:
            old = context.previous(context.was.seed, name)
            if old is not None and old != seed:
                undo = (_write_seed(name, old),)
        self._add(Phase.SEED, "change", name, f"write the cloud-init seed of {name}", _write_seed(name, seed), undo)
        reading = context.observed.guest_of.get(name)
        if reading is not None and reading.state in ALIVE and not context.options.may_restart(name):
            context.build.note(guest_ref(name), f"guest {name} sees its new seed when it starts the next time")

    def _trash_folder(self, name: str) -> None:
        self._trashed.add(name)
        request = TrashGuestFolder(guest=name, key=self._key(name))
        undo = (UntrashGuestFolder(guest=name, key=self._key(name)),)
        self._add(Phase.TRASH, "remove", name, f"move guest {name} with its disks to the trash", request, undo)

    def _add(
        self, phase: Phase, verb: str, guest: str, summary: str, request: Request, undo: tuple[Request, ...] | None
    ) -> None:
        step = Step(verb=verb, ref=guest_ref(guest), summary=summary, requests=(request,), undo=undo)
        self._context.build.add(phase, step)


def _write_seed(guest: str, seed: Seed) -> WriteSeed:
    return WriteSeed(
        guest=guest, user_data=seed.user_data, meta_data=seed.meta_data, network_config=seed.network_config
    )
