"""The NoCloud seed: an ISO 9660 volume named CIDATA with the guest's user data, meta data and network configuration."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from ..handlers import Context, Handler
from ..paths import Folder, open_folder
from ..policy import Policy
from ..run import installed, run
from ..vocabulary import WriteSeed
from . import locks, records
from .records import SeedRecord

SEED, SEED_RECORD = "seed.iso", "seed.json"


def writer(held: Callable[[Context, str], AbstractContextManager[Folder]]) -> Handler:
    """The handler of WriteSeed. held: the guest's folder under its lock."""

    def write(context: Context, request: WriteSeed) -> None:
        """A guest that runs keeps the seed it was started with; the new one is seen at its next start."""
        digest = _digest(request)
        busy = f"guest {request.guest}: its seed is being written; try again when that has ended"
        with held(context, request.guest) as folder, locks.held(folder, SEED, busy, context.progress):
            record = records.read(folder, SEED_RECORD, SeedRecord)
            if record and record.digest == digest and folder.exists(SEED):
                return
            # Without a record the seed counts as absent: a crash never leaves one volume with another's digest.
            folder.remove(SEED_RECORD)
            _render(context.policy, request, folder)
            records.write(folder, SEED_RECORD, SeedRecord(digest=digest))

    return write


def digest_in(folder: Folder) -> str:
    """Of the seed in a guest's folder, as FolderReading.seed_digest; empty without one."""
    seed = records.read(folder, SEED_RECORD, SeedRecord) if folder.exists(SEED) else None
    return seed.digest if seed else ""


def _digest(request: WriteSeed) -> str:
    """As FolderReading.seed_digest says."""
    sum = hashlib.sha256()
    for text in (request.user_data, request.meta_data, request.network_config):
        sum.update(text.encode() + b"\0")
    return sum.hexdigest()


def _render(policy: Policy, request: WriteSeed, folder: Folder) -> None:
    temporary = f".{SEED}.new"
    with ExitStack() as stack:
        run_folder = stack.enter_context(open_folder(policy.run, create=True))
        ours = f"seed:{request.guest}:"
        for left in run_folder.names():  # of a request that was killed: no other one of this guest is under way
            if left.startswith(ours):
                run_folder.remove_tree(left)
        name = f"{ours}{secrets.token_hex(8)}"
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
        run(_command(folder.shown(temporary), private.path))
        descriptor = folder.open(temporary)
        stack.callback(os.close, descriptor)
        os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
        folder.rename(temporary, folder, SEED)


def _command(target: str, source: str) -> list[str]:
    """xorrisofs where it is installed, else makefs(8), which FreeBSD has in its base system (no Joliet names)."""
    if installed("makefs") and not installed("xorrisofs"):
        return ["makefs", "-t", "cd9660", "-o", "rockridge,label=CIDATA", target, source]
    return ["xorrisofs", "-quiet", "-V", "CIDATA", "-J", "-r", "-o", target, source]
