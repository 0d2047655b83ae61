"""The state folder, its policy and its keys."""

from __future__ import annotations

import os
from pathlib import Path

from .accounts import ids
from .commands import run
from .places import (
    ACCESS_KEY,
    BUILD,
    ENGINE_STATE,
    ETC,
    EXAMPLE,
    GATEWAY_STATE,
    GATEWAY_USER,
    KEYS,
    LOG,
    POLICY,
    POOL,
    PUBLISHED,
    RUN_ENGINE,
    RUN_HELPER,
    SIGNERS,
    SIGNING_KEY,
    SITE,
    SSH_CONFIG,
    STATE,
    USER,
)
from .progress import step

_SSH_CONFIG = f"""Host gateway
  HostName 10.77.0.2
Host files
  HostName 10.78.0.10
  ProxyJump gateway
Host *
  User admin
  IdentityFile {ACCESS_KEY}
  IdentitiesOnly yes
  UserKnownHostsFile {KEYS / "known_hosts"}
  StrictHostKeyChecking accept-new
  LogLevel ERROR
"""


def create() -> None:
    """Make folders, policy and keys; repeatable."""
    for folder, mode, owner in (
        (STATE, 0o755, "root"),
        (ETC, 0o755, "root"),
        (POOL, 0o755, "root"),
        (LOG, 0o755, "root"),
        (KEYS, 0o700, "root"),
        (BUILD, 0o755, "root"),
        (PUBLISHED, 0o755, "root"),
        (ENGINE_STATE, 0o700, USER),
        (GATEWAY_STATE, 0o700, GATEWAY_USER),
        (RUN_HELPER, 0o755, "root"),
        (RUN_ENGINE, 0o755, USER),
    ):
        _folder(folder, mode, owner)
    _write(POLICY, _policy(), "write the policy of the root side")
    _keys()
    _write(SSH_CONFIG, _SSH_CONFIG, "write the ssh configuration for the guests")
    _write(SITE, _site(), f"write {SITE}")


def _folder(folder: Path, mode: int, owner: str) -> None:
    folder.mkdir(exist_ok=True)
    uid, gid = (0, 0) if owner == "root" else ids(owner)
    os.chown(folder, uid, gid)
    folder.chmod(mode)


def _write(path: Path, text: str, words: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    with step(words):
        path.write_text(text)
        path.chmod(0o644)


def _policy() -> str:
    return f"""# What skepd may ask of the root side on this machine. Read at the start of skep-helper.
pool = "{POOL}"
run = "{RUN_HELPER}"
log = "{LOG}"
user = "{USER}"
group = "{USER}"
# While a nat network is up, IP forwarding is on; afterwards it is as it was.
forwarding = true
# Interfaces of this machine that networks may be put on.
uplinks = []
"""


def _keys() -> None:
    """A key that signs images, trusted by this machine, and one to log into the guests."""
    if not SIGNING_KEY.exists():
        with step("make the key that signs images"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "image signing", "-f", SIGNING_KEY])
    public = SIGNING_KEY.with_suffix(".pub").read_text().split()
    _write(SIGNERS, f'images@localhost namespaces="skep-image" {public[0]} {public[1]}\n', "trust the signing key")
    if not ACCESS_KEY.exists():
        with step("make the ssh key for the guests"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "skep", "-f", ACCESS_KEY])


def _site() -> str:
    """The example with this machine's ssh key in it."""
    key = ACCESS_KEY.with_suffix(".pub").read_text().strip()
    return EXAMPLE.read_text().replace("ssh-keys = []", f'ssh-keys = ["{key}"]', 1)
