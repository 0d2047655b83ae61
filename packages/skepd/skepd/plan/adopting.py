"""Steps that take disks of somebody else's guests over, and give them back. Nothing is copied but UEFI variables."""

from __future__ import annotations

from skep_helper.vocabulary import AdoptDisk, AdoptVariables, FolderReading

from .builder import Phase, guest_ref
from .context import Context
from .steps import Request, Step


def take_disk(context: Context, guest: str, disk: str) -> bool:
    """Whether a disk that is not there yet is one that the caller takes over."""
    source = context.options.take.get((guest, disk))
    if source is None:
        return False
    request = AdoptDisk(guest=guest, disk=disk, source=source)
    undo = (AdoptDisk(guest=guest, disk=disk, source=source, undo=True),)
    _add(context, Phase.DISK, guest, "adopt", f"take {source} over as disk {guest}/{disk}", request, undo)
    return True


def take_variables(context: Context, guest: str) -> None:
    source = context.options.variables.get(guest)
    if source is not None:
        request = AdoptVariables(guest=guest, source=source)
        # Not undone: they go with the folder, which the plan made.
        _add(context, Phase.DISK, guest, "adopt", f"copy the UEFI variables of {source} to guest {guest}", request, ())


def give_back(context: Context, folder: FolderReading) -> bool:
    """Give the taken disks of a guest that goes back. False: the guest must stay, because a disk would be lost."""
    name = folder.guest
    if name not in context.options.give_back:
        return True
    own = [disk.disk for disk in folder.disks if not disk.adopted]
    if own:
        text = f"guest {name} has disks that were never vm-bhyve's ({', '.join(own)}) and would be lost"
        context.build.note(guest_ref(name), f"{text}: remove them first (skep guest set {name} --file)", refuses=True)
        return False
    for disk in folder.disks:
        request = AdoptDisk(guest=name, disk=disk.disk, source=disk.adopted, undo=True)
        undo = (AdoptDisk(guest=name, disk=disk.disk, source=disk.adopted),)
        _add(context, Phase.DETACH, name, "give-back", f"give {name}/{disk.disk} back as {disk.adopted}", request, undo)
    return True


def _add(
    context: Context, phase: Phase, guest: str, verb: str, summary: str, request: Request, undo: tuple[Request, ...]
) -> None:
    step = Step(verb=verb, ref=guest_ref(guest), summary=summary, requests=(request,), undo=undo)
    context.build.add(phase, step)
