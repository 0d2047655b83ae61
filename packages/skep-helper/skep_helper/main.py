"""skep-helper: reads its policy, opens its socket, serves. Started by root, by the service manager."""

from __future__ import annotations

import argparse
import fcntl
import os
import resource
import socket
import sys
import time
from pathlib import Path

from . import __version__, log, paths, platforms, policy
from .guard.protocol import GuardError
from .handlers import Failure
from .server import Server
from .users import user_of
from .vocabulary.fields import Rejected

EX_UNAVAILABLE, EX_OSERR, EX_NOPERM, EX_CONFIG = 69, 71, 77, 78
SOCKET_NAME = "helper.sock"
DESCRIPTORS = 4096
"""Several times MOST_CONNECTIONS, each with itself, what came unfinished, and what was answered and not yet read."""
_BACKLOG = 64
_PATIENCE, _PAUSE = 15.0, 0.1


def listen(path: Path, group: int) -> socket.socket:
    """A listening socket that root and this group can connect to; replaces one that a dead helper left.

    Its folder is root's, so that nobody else can put one in its place. Raises OSError, Rejected.
    """
    with paths.open_folder(path.parent, create=True) as folder:
        folder.remove(path.name, durable=False)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(folder.shown(path.name))
        finally:
            os.umask(before)
        if os.geteuid() == 0:
            os.chown(path.name, 0, group, dir_fd=folder.descriptor, follow_symlinks=False)
        os.chmod(path.name, 0o660, dir_fd=folder.descriptor)
    listener.listen(_BACKLOG)
    return listener


def hold(path: Path) -> int:
    """A lock beside the socket, held while this process lives: two helpers would not see each other's requests.

    Waits a while for one that is just ending; raises Failure("busy").
    """
    with paths.open_folder(path.parent, create=True) as folder:
        descriptor = folder.open(f"{path.name}.lock", os.O_RDWR | os.O_CREAT)
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= end:
                os.close(descriptor)
                raise Failure("busy", f"another skep-helper serves {path}; stop it first") from None
        time.sleep(_PAUSE)


def allow_descriptors() -> None:
    """Have room for what all connections together may hold: a helper that can accept nobody does not see who left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    try:
        allowed = policy.load(options.policy, platforms.defaults())
        uid, gid = user_of(allowed)
        # hashlib then uses Python's own SHA-256: 4 MB of OpenSSL less in every process of the root side.
        sys.modules.setdefault("_hashlib", None)  # type: ignore[arg-type]
        platform = platforms.load(allowed)
        if options.check:
            print(f"{options.policy}: fine")  # noqa: T201 - the answer of --check
            return 0
        if os.geteuid() != 0:
            print("skep-helper: must be started by root", file=sys.stderr)  # noqa: T201
            return EX_NOPERM
        os.umask(0o077)
        allow_descriptors()
        path = options.socket or allowed.run / SOCKET_NAME
        held = hold(path)
        platform.prepare(allowed)
        listener = listen(path, gid)
    except (Rejected, LookupError) as error:
        print(f"skep-helper: {error}", file=sys.stderr)  # noqa: T201
        return EX_CONFIG
    except (Failure, GuardError, OSError) as error:
        print(f"skep-helper: {error}", file=sys.stderr)  # noqa: T201
        return EX_OSERR
    log.line("started", version=__version__, platform=platform.name, pool=allowed.pool)
    Server(allowed, platform, listener, frozenset({0, uid})).run()
    os.close(held)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    return parser().parse_args(arguments)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="skep-helper", description="The root side of Skep.")
    made.add_argument("--policy", type=Path, required=True, help="what may be asked for: a TOML file that is root's")
    made.add_argument("--socket", type=Path, help="where skepd connects; helper.sock in the policy's run folder")
    made.add_argument("--check", action="store_true", help="read the policy, say whether it is fine, and end")
    made.add_argument("--version", action="version", version=__version__)
    return made


if __name__ == "__main__":
    sys.exit(main())
