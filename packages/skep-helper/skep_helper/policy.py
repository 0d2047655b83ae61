"""What skepd may ask for on this host: a TOML file that only root can write."""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
import stat
import tomllib
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from .vocabulary.fields import Rejected

LEAST_UID, LARGEST_UID = 1000, (1 << 31) - 2
"""Below are the system's own users."""
LONGEST_DATASET = 64
"""What leaves room for the names of guests, disks and snapshots."""
_DATASET = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)+")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Paths are absolute. Everything the helper touches lies below `pool` or `run`, or carries the prefix.

    pool: guests and images (persistent). dataset: the OpenZFS dataset mounted at pool, such as tank/skep; empty: guests
    are folders and files (not on FreeBSD). run: runtime state, gone after a boot. user: the user skepd runs as;
    group: whose members may use the API. guest_uids: first and last uid that guests run as, one each.
    uplinks: interfaces of the host that networks may be put on. interface_prefix: of every interface Skep makes in
    the host's own stack. forwarding: whether Skep may switch on the host's IP forwarding while a nat network needs
    it (and back off afterwards). passthrough: PCI addresses that guests may be given. adopt: ZFS datasets whose
    vm-bhyve guests may be taken over.
    """

    pool: Path = Path("/var/lib/skep/pool")
    dataset: str = ""
    run: Path = Path("/run/skep")
    log: Path = Path("/var/log/skep")
    user: str = "skep"
    group: str = "skep"
    guest_uids: tuple[int, int] = (590_000, 599_999)
    uplinks: tuple[str, ...] = ()
    interface_prefix: str = "sk"
    forwarding: bool = False
    passthrough: tuple[str, ...] = ()
    adopt: tuple[str, ...] = ()
    host_prefixes: tuple[str, ...] = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
    """Where addresses may lie that the host itself gets: on networks that ask for one, and on links to nat networks."""
    memory_limit: int = 0
    """Bytes that all guests together may have; 0: what the host has."""


def load(path: Path, defaults: Policy = Policy()) -> Policy:
    """Read a policy; raises Rejected when it is not root's alone to write, or not understood.

    defaults: the platform's, for what the file does not say.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if status.st_uid != 0 or stat.S_IMODE(status.st_mode) & 0o022:
            raise Rejected(f"{path}: must belong to root and be writable by nobody else (chown root, chmod 644)")
        try:
            return parse(tomllib.load(stream), defaults)
        except (tomllib.TOMLDecodeError, Rejected) as error:
            raise Rejected(f"{path}: {error}") from None


def parse(table: dict[str, Any], defaults: Policy = Policy()) -> Policy:
    known = {field.name: field for field in fields(Policy)}
    arguments: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise Rejected(f"unknown key {key!r}; known are {', '.join(known)}")
        arguments[key] = _convert(key, known[key].default, value)
    policy = replace(defaults, **arguments)
    _check(policy)
    return policy


def _check(policy: Policy) -> None:
    """What would give guests or tools the identity of somebody else; raises Rejected."""
    uids = policy.guest_uids
    if len(uids) != 2 or not LEAST_UID <= uids[0] < uids[1] <= LARGEST_UID:
        raise Rejected(f"guest_uids must be [FIRST, LAST] with {LEAST_UID} <= FIRST < LAST")
    with suppress(KeyError):
        if uids[0] <= pwd.getpwnam(policy.user).pw_uid <= uids[1]:
            raise Rejected(f"guest_uids holds the uid of {policy.user}; choose a range without accounts")
    for prefix in policy.host_prefixes:
        try:
            ipaddress.ip_network(prefix)
        except ValueError as error:
            raise Rejected(f"host_prefixes: {error}") from None
    if policy.dataset and (len(policy.dataset) > LONGEST_DATASET or not _DATASET.fullmatch(policy.dataset)):
        raise Rejected(f"dataset must be POOL/NAME with at most {LONGEST_DATASET} characters, such as tank/skep")
    if not re.fullmatch(r"[a-z][a-z0-9]{0,3}", policy.interface_prefix):
        raise Rejected("interface_prefix must be one to four of a-z and 0-9, a letter first")


def _convert(key: str, default: Any, value: Any) -> Any:
    if isinstance(default, Path):
        if not isinstance(value, str) or not value.startswith("/") or ".." in Path(value).parts:
            raise Rejected(f"{key} must be an absolute path")
        return Path(value)
    if isinstance(default, tuple):
        item_type = int if key == "guest_uids" else str
        if not isinstance(value, list) or not all(type(item) is item_type for item in value):
            raise Rejected(f"{key} must be a list of {item_type.__name__}")
        return tuple(value)
    if type(value) is not type(default):
        raise Rejected(f"{key} must be {type(default).__name__}")
    return value
