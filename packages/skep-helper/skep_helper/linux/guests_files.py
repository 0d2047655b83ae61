"""What a guest's VMM is given: its files, sockets and taps as open descriptors, and the pipes of its serial line."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from ..guard import state
from ..guard.home import medium_key
from ..handlers import Failure
from ..meanwhile import Meanwhile
from ..paths import Folder
from ..policy import Policy
from ..vocabulary.guest import GuestSpec, MediaDevice
from .guests_sources import SEED, TPM, VARS, storage
from .network import names
from .network.taps import open_tap
from .qemu import firmware
from .qemu.command import Source

VMM = "vmm.json"

TapOpener = Callable[[Policy, str], int]


def disk_sources(policy: Policy, folder: Folder, spec: GuestSpec) -> dict[str, Source]:
    """By disk name."""
    return {disk.disk: storage(policy).disk(policy, folder, disk.disk) for disk in spec.disks}


def media_sources(policy: Policy, media: tuple[MediaDevice, ...], detached: list[str]) -> dict[int, Source]:
    """By slot, of the media that are in their drives."""
    return {
        medium.slot: storage(policy).image(policy, medium.image, medium.version)
        for medium in media
        if not (medium.until_reboot and medium_key(medium) in detached)
    }


class Opener:
    """Opens what the keys of ``command.keys`` name. A context manager that closes what it opened.

    paths: what the descriptors are, by key, for the readable configuration. meanwhile: takes what waits for the disk.
    tpm: descriptors of the guest's swtpm.
    """

    def __init__(
        self, policy: Policy, folder: Folder, spec: GuestSpec, meanwhile: Meanwhile, open_port: TapOpener = open_tap
    ) -> None:
        self._policy = policy
        self._folder = folder
        self._spec = spec
        self._meanwhile = meanwhile
        self._open_port = open_port
        self._runtime = state.Folder(str(policy.run), spec.name)
        self.descriptors: list[int] = []
        self.tpm: list[int] = []
        self.paths: dict[str, str] = {}

    def __enter__(self) -> Opener:
        return self

    def __exit__(self, *ignored: object) -> None:
        for descriptor in (*self.descriptors, *self.tpm):
            os.close(descriptor)
        self.descriptors.clear()
        self.tpm.clear()

    def open(self, key: str) -> None:
        kind, _, name = key.partition(":")
        self.descriptors.append(getattr(self, f"_open_{kind}")(key, name))

    def _open_qmp(self, key: str, name: str) -> int:
        return self._listen(key, self._runtime.qmp)

    def _open_agent(self, key: str, name: str) -> int:
        return self._listen(key, self._runtime.agent)

    def _listen(self, key: str, path: str) -> int:
        """Made by root, who alone may connect; QEMU gets it listening."""
        self.paths[key] = path
        state.remove(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(path)
            os.chmod(path, 0o600)
            listener.listen(8)
            return listener.detach()

    def _open_tpm(self, key: str, name: str) -> int:
        """One end for QEMU, the other for swtpm. A socket's name is for who runs the guest by hand."""
        self.paths[key] = f"/tmp/{self._spec.name}-tpm.sock"  # noqa: S108 - nothing is made there
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.tpm.append(theirs.detach())
        return ours.detach()

    def open_tpm_state(self, gid: int) -> None:
        """The file that swtpm keeps its state in: root's, and writable by the guest's group of one."""
        descriptor = self._folder.open(TPM, os.O_RDWR | os.O_CREAT)
        self.tpm.append(descriptor)
        os.fchown(descriptor, -1, gid)
        os.fchmod(descriptor, 0o660)

    def _open_code(self, key: str, name: str) -> int:
        self.paths[key] = firmware.SECURE_CODE if self._spec.secure_boot else firmware.CODE
        return firmware.open_code(self._spec.secure_boot)

    def _open_vars(self, key: str, name: str) -> int:
        """Made anew when there are none, or when the power failed while they were first written."""
        if not self._has_vars():
            self._meanwhile.add(self._folder.write_ahead(VARS, firmware.read_vars(self._spec.secure_boot)))
        return self._open_file(key, self._folder, VARS, os.O_RDWR)

    def _has_vars(self) -> bool:
        try:
            descriptor = self._folder.open(VARS)
        except FileNotFoundError:
            return False
        with os.fdopen(descriptor, "rb") as stream:
            return firmware.is_whole(stream.read(firmware.HEAD), os.fstat(descriptor).st_size)

    def _open_disk(self, key: str, name: str) -> int:
        return self._opened(key, storage(self._policy).open_disk(self._policy, self._folder, name))

    def _open_base(self, key: str, name: str) -> int:
        return self._opened(key, storage(self._policy).open_base(self._policy, self._folder, name))

    def _open_media(self, key: str, name: str) -> int:
        medium = next(item for item in self._spec.media if item.slot == int(name))
        return self._opened(key, storage(self._policy).open_image(self._policy, medium.image, medium.version))

    def _opened(self, key: str, found: tuple[int, str]) -> int:
        descriptor, self.paths[key] = found
        return descriptor

    def _open_seed(self, key: str, name: str) -> int:
        if not self._folder.exists(SEED):
            raise Failure("missing", f"guest {self._spec.name} has no seed; write it first")
        return self._open_file(key, self._folder, SEED, os.O_RDONLY)

    def _open_nic(self, key: str, name: str) -> int:
        self.paths[key] = names.tap(self._policy, name)
        return self._open_port(self._policy, name)

    def _open_file(self, key: str, folder: Folder, name: str, flags: int) -> int:
        self.paths[key] = folder.shown(name)
        return folder.open(name, flags)


def make_pipes(folder: state.Folder, uid: int) -> None:
    """The serial line and QEMU's standard error, new for each start."""
    for path in (folder.typed, folder.output, folder.errors):
        state.remove(path)
        os.mkfifo(path, 0o600)
    os.chown(folder.typed, uid, -1)
    os.chown(folder.output, uid, -1)
