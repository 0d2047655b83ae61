"""The NoCloud seed: an ISO 9660 volume named CIDATA with the guest's user data, meta data and network configuration."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack

from skep_helper.handlers import Context
from skep_helper.paths import Folder, open_folder
from skep_helper.run import run
from skep_helper.vocabulary import WriteSeed

from . import layout, records
from .records import SeedRecord


def write(context: Context, request: WriteSeed) -> None:
    """A guest that runs keeps the seed it was started with; the new one is seen at its next start."""
    digest = _digest(request)
    with layout.held_guest(context.policy, request.guest, shared=True, progress=context.progress) as folder:
        record = records.read(folder, layout.SEED_RECORD, SeedRecord)
        if record and record.digest == digest and folder.exists(layout.SEED):
            return
        # Without a record the seed counts as absent, so that a crash never leaves one volume with another's digest.
        folder.remove(layout.SEED_RECORD)
        _render(context, request, folder)
        records.write(folder, layout.SEED_RECORD, SeedRecord(digest=digest))


def _digest(request: WriteSeed) -> str:
    """As FolderReading.seed_digest says."""
    sum = hashlib.sha256()
    for text in (request.user_data, request.meta_data, request.network_config):
        sum.update(text.encode() + b"\0")
    return sum.hexdigest()


def _render(context: Context, request: WriteSeed, folder: Folder) -> None:
    temporary = f".{layout.SEED}.new"
    with ExitStack() as stack:
        run_folder = stack.enter_context(open_folder(context.policy.run, create=True))
        name = f"seed-{request.guest}"
        run_folder.remove_tree(name)
        private = stack.enter_context(run_folder.make(name))
        stack.callback(run_folder.remove_tree, name)
        content = {
            "user-data": request.user_data,
            "meta-data": request.meta_data,
            "network-config": request.network_config,
        }
        for file, text in content.items():
            private.write(file, text.encode())
        folder.remove(temporary, durable=False)
        volume = ["-V", "CIDATA", "-J", "-r"]
        run(["xorrisofs", "-quiet", *volume, "-o", folder.shown(temporary), private.path])
        descriptor = folder.open(temporary)
        stack.callback(os.close, descriptor)
        os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
        folder.rename(temporary, folder, layout.SEED)
