"""Guests' folders and the trash, which keeps what a plan may still have to bring back."""

from __future__ import annotations

from contextlib import ExitStack, suppress

from skep_helper import log
from skep_helper.guard import client as guard
from skep_helper.handlers import Context, Failure
from skep_helper.paths import Folder
from skep_helper.policy import Policy
from skep_helper.storage.definition import make_definition
from skep_helper.users import user_of
from skep_helper.vocabulary import CreateGuestFolder, EmptyTrash, TrashGuestFolder, UntrashGuestFolder

from . import layout, trash


def create(context: Context, request: CreateGuestFolder) -> dict[str, bool]:
    _, group = user_of(context.policy)
    with ExitStack() as stack:
        guests = stack.enter_context(layout.pool_folder(context.policy, layout.GUESTS))
        made = not guests.exists(request.guest)
        folder = stack.enter_context(guests.make(request.guest, 0o750, group, durable=False))
        for name in (layout.DISKS, layout.SNAPSHOTS):
            folder.make(name, durable=False).close()
        make_definition(context.policy, folder)
        folder.sync()
        guests.sync()
    return {"made": made}


def trash_folder(context: Context, request: TrashGuestFolder) -> None:
    policy = context.policy
    with ExitStack() as stack:
        guests = stack.enter_context(layout.pool_folder(policy, layout.GUESTS))
        if not guests.exists(request.guest):
            return
        stack.enter_context(layout.held_guest(policy, request.guest, unfinished=True))
        if guard.is_running(policy, request.guest):
            raise Failure("busy", f"guest {request.guest} is running; stop it before it is removed")
        target = stack.enter_context(trash.folder(policy, request.key, layout.GUESTS))
        if target.exists(request.guest):
            raise Failure("exists", f"the trash already holds a guest {request.guest} under {request.key}")
        guests.rename(request.guest, target, request.guest)


def untrash_folder(context: Context, request: UntrashGuestFolder) -> None:
    # Also when it is back already: a crash may have come between moving and this.
    with ExitStack() as stack:
        stack.callback(trash.prune, context.policy, request.key)
        guests = stack.enter_context(layout.pool_folder(context.policy, layout.GUESTS))
        try:
            source = layout.pool_folder(context.policy, layout.TRASH, request.key, layout.GUESTS)
        except FileNotFoundError:
            source = None
        if source:
            stack.enter_context(source)
        in_trash = source is not None and source.exists(request.guest)
        if source is None or not in_trash:
            if not guests.exists(request.guest):
                raise Failure("missing", f"the trash holds no guest {request.guest} under {request.key}")
            return
        if guests.exists(request.guest):
            raise Failure("exists", f"there is another guest {request.guest} now; remove or rename it first")
        source.rename(request.guest, guests, request.guest)


def empty_trash(context: Context, request: EmptyTrash) -> None:
    """Moved aside first, so that what is half removed is never brought back."""
    with layout.pool_folder(context.policy, layout.TRASH) as folder:
        doomed = f".{request.key}.doomed"
        folder.remove_tree(doomed)
        if folder.exists(request.key):
            folder.rename(request.key, folder, doomed)
            folder.remove_tree(doomed)


def sweep(policy: Policy) -> None:
    """At start: remove what was half made or half removed when the helper died."""
    with layout.pool_folder(policy, layout.GUESTS) as guests:
        for guest_name in guests.names():
            _sweep_guest(policy, guest_name)
    trash.sweep(policy)
    with layout.pool_folder(policy, layout.IMAGES) as images:
        for name in images.names():
            with suppress(FileNotFoundError), images.folder(name) as versions:
                _sweep_hidden(versions)


def _sweep_guest(policy: Policy, guest_name: str) -> None:
    with suppress(FileNotFoundError), layout.pool_folder(policy, layout.GUESTS, guest_name, layout.DISKS) as disks:
        if not any(name.startswith(".") for name in disks.names()):
            return
        try:
            with layout.held_guest(policy, guest_name, unfinished=True, progress=_silent):
                _sweep_hidden(disks)
        except Failure as error:
            log.line("unswept", guest=guest_name, reason=error)


def _sweep_hidden(folder: Folder) -> None:
    for name in folder.names():
        if name.startswith("."):
            folder.remove_tree(name)


def _silent(done: int, total: int) -> None:
    """At start nobody listens."""
