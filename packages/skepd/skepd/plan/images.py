"""Steps that pull images, and remove those that no definition asks for any more."""

from __future__ import annotations

from skep_helper.vocabulary import RemoveImage

from skepd.model.names import Kind, Ref

from .builder import Phase
from .context import Context
from .steps import PullImage, Step


class Images:
    """Knows which images are there, or will be once the pulls of this plan are done."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pulled: set[tuple[str, str]] = set()

    def need(self, ref: Ref, name: str, version: str) -> bool:
        """See to it that an image is there for this object; False with a problem noted when it cannot be."""
        context = self._context
        if (name, version) in context.observed.image_of or (name, version) in self._pulled:
            return True
        image = context.after.images.get(name)
        if not version:
            context.problem(ref, f'no image "{name}" is defined: define it with a version', dangling=True)
            return False
        if image is None or not image.sources:
            advice = "give its definition sources to pull it from, or publish it on this host"
            context.problem(ref, f"image {name}:{version} is not on this host: {advice}")
            return False
        self._pulled.add((name, version))
        work = PullImage(image=name, version=version, sources=image.sources)
        summary = f"pull image {name}:{version}"
        # Not undone: a verified image harms nobody, and pulling 20 GB again would.
        step = Step(verb="pull", ref=Ref(Kind.IMAGE, name), summary=summary, work=work)
        context.build.add(Phase.PULL, step)
        return True

    def plan_definitions(self) -> None:
        for name, image in self._context.after.images.items():
            self.need(Ref(Kind.IMAGE, name), name, image.version)

    def plan_removals(self) -> None:
        """Images whose definition goes, or names another version now, unless a disk or medium still uses them."""
        context = self._context
        difference = context.differences[Kind.IMAGE]
        for name in (*difference.removed, *difference.changed):
            version = context.before.images[name].version
            new = context.after.images.get(name)
            if (name, version) not in context.observed.image_of or (new and new.version == version):
                continue
            user = self._user(name, version)
            ref = Ref(Kind.IMAGE, name)
            if user:
                context.build.note(ref, f"image {name}:{version} stays: {user} uses it")
                continue
            request = RemoveImage(image=name, version=version)
            summary = f"remove image {name}:{version}"
            step = Step(verb="remove", ref=ref, summary=summary, requests=(request,), undo=None)
            context.build.add(Phase.REMOVE_IMAGE, step)

    def _user(self, name: str, version: str) -> str:
        """An object that still uses this version of an image after the plan; "" for none."""
        context = self._context
        wanted = f"{name}:{version}"
        for guest in context.after.guests.values():
            if any(media.image == wanted for media in guest.media):
                return f"guest {guest.name}"
        for folder in context.observed.storage.folders:
            before, after = context.before.guests.get(folder.guest), context.after.guests.get(folder.guest)
            if before is not None and after is None:
                continue
            kept = None if before is None or after is None else {disk.name for disk in after.disks}
            dropped = {disk.name for disk in before.disks} - (kept or set()) if before and after else set()
            for disk in folder.disks:
                if disk.image == wanted and disk.disk not in dropped:
                    return f"disk {folder.guest}/{disk.disk}"
        return ""
