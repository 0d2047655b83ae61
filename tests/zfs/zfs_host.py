"""A helper whose storage is a dataset of a real pool; what tests do with its guests' disks."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from skep_helper import linux, main, platforms
from skep_helper import vocabulary as v
from skep_helper import zfs as storage
from skep_helper.policy import Policy
from skepd.helper_client import HelperClient
from skepd.host import HostError
from zfs_lab import await_node, names, wipe

MIB = 1 << 20
GUEST, DISK = "files", "data"
_PATIENCE = 120.0


class Helper:
    """skep-helper with the storage alone, forked from here: to start Python, to import all that, and to try out QEMU
    and networks takes an emulated machine minutes. test_zfs_conformance has a whole one."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            self._serve(arguments, log)

    @staticmethod
    def _serve(arguments: list[str], log: Path) -> NoReturn:
        status = 1
        try:
            os.closerange(3, 4096)
            os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - as long as this process
            platforms.load = _storage_alone
            status = main.main(arguments)
        finally:
            os._exit(status)

    def end(self, number: int) -> None:
        os.kill(self.pid, number)
        os.waitpid(self.pid, 0)


def _storage_alone(policy: Policy) -> platforms.Platform:
    return replace(platforms.assemble(linux.NAME, linux.boot_id(), [storage]), features=lambda policy: ())


class ZfsHost:
    """A host of its own dataset. Two of them in one pool are two hosts that know nothing of each other."""

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.folder = Path(tempfile.mkdtemp(prefix="skep-z-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.log = self.folder / "helper.log"
        lines = [f'{name} = "{self.folder / name}"' for name in ("pool", "run", "log")]
        lines += ['user = "nobody"', 'group = "nogroup"', f'dataset = "{dataset}"', 'interface_prefix = "skz"']
        (self.folder / "policy.toml").write_text("\n".join([*lines, ""]))
        (self.folder / "policy.toml").chmod(0o644)
        self.client = HelperClient(self.folder / "run" / "helper.sock", patience=_PATIENCE)
        self.start()

    def start(self) -> None:
        socket = self.folder / "run" / "helper.sock"
        self.process = Helper(["--policy", str(self.folder / "policy.toml"), "--socket", str(socket)], self.log)
        try:
            self.client.hello()
        except HostError as error:
            raise AssertionError(f"{error}; the helper said: {self.log.read_text(errors='replace')}") from error

    def kill(self) -> None:
        """SIGKILL to the helper alone: its processes notice by themselves."""
        self.process.end(signal.SIGKILL)

    def stop(self) -> None:
        self.client.close()
        self.process.end(signal.SIGTERM)
        wipe(self.dataset)
        shutil.rmtree(self.folder, ignore_errors=True)

    def do(self, *requests: Any) -> tuple[Any, ...]:
        return self.client.perform(requests)

    def refused(self, request: Any) -> HostError:
        """What it is refused with."""
        try:
            self.client.perform([request])
        except HostError as error:
            return error
        raise AssertionError(f"{request} was not refused")

    def guest(self, name: str = GUEST) -> v.FolderReading | None:
        (reading,) = self.do(v.ReadStorage())
        return next((folder for folder in reading.folders if folder.guest == name), None)

    def replica(self) -> v.ReplicaReading:
        return self.do(v.ReadReplica(guest=GUEST))[0]

    def volume(self, disk: str = DISK, guest: str = GUEST) -> str:
        return f"{self.dataset}/guests/{guest}/{disk}"

    def write(self, data: bytes, place: int = 0, disk: str = DISK) -> None:
        with await_node(self.volume(disk)).open("r+b") as device:
            device.seek(place)
            device.write(data)
            device.flush()
            os.fsync(device.fileno())

    def digest(self, disk: str = DISK) -> str:
        with await_node(self.volume(disk)).open("rb") as device:
            return hashlib.file_digest(device, "sha256").hexdigest()

    def names(self, *words: str) -> set[str]:
        """Everything below its dataset, without the dataset's own name."""
        return {name.removeprefix(self.dataset) for name in names("-r", "-t", "all", self.dataset, *words)}


_NUMBERS = itertools.count()


@contextmanager
def hosts(pool: str, *leaves: str) -> Iterator[tuple[ZfsHost, ...]]:
    """Hosts on datasets of this pool; each time others, because what held snapshots keep outlives a host."""
    with ExitStack() as stack:
        found = [ZfsHost(f"{pool}/{leaf}{next(_NUMBERS)}") for leaf in leaves]
        for host in found:
            stack.callback(host.stop)
        yield tuple(found)


def make_guest(host: ZfsHost, size: int = 32 * MIB) -> None:
    host.do(v.CreateGuestFolder(guest=GUEST), v.CreateDisk(guest=GUEST, disk=DISK, size=size, format="zvol"))


class Transfer:
    """A part on its way from one host to another. cut: how many bytes come through at most."""

    def __init__(self, source: ZfsHost, target: ZfsHost, cut: int | None = None, **fields: Any) -> None:
        self.stream = v.SnapshotStream(**{"guest": GUEST, "snapshot": "one", **fields})
        self.source, self.target = source, target
        self.left = cut
        self.error: HostError | None = None
        self.send_error: HostError | None = None
        self.passed = 0

    def run(self) -> Transfer:
        inner, outer = os.pipe(), os.pipe()
        threads = [
            threading.Thread(target=self._send, args=(inner[1],)),
            threading.Thread(target=self._relay, args=(inner[0], outer[1])),
        ]
        for thread in threads:
            thread.start()
        request = v.ReceiveSnapshot(
            guest=GUEST,
            snapshot=self.stream.snapshot,
            disk=self.stream.disk,
            disks=(DISK,) if not self.stream.disk else (),
        )
        try:
            self.target.client.stream(request, outer[0])
        except HostError as error:
            self.error = error
        finally:
            os.close(outer[0])
            for thread in threads:
                thread.join()
        return self

    def _send(self, writer: int) -> None:
        try:
            self.source.client.stream(v.SendSnapshot(stream=self.stream), writer)
        except HostError as error:
            self.send_error = error
        finally:
            os.close(writer)

    def _relay(self, reader: int, writer: int) -> None:
        with open(reader, "rb", buffering=0) as source, suppress(BrokenPipeError), open(writer, "wb", 0) as target:
            while data := source.read(65536):
                if self.left is not None:
                    data, self.left = data[: self.left], self.left - len(data[: self.left])
                    if not data:
                        return
                target.write(data)
                self.passed += len(data)


def move(source: ZfsHost, target: ZfsHost, **fields: Any) -> None:
    """Both parts of a snapshot; raises what was refused."""
    for disk in (None, DISK):
        done = Transfer(source, target, disk=disk, **fields).run()
        if done.error or done.send_error:
            raise done.send_error or done.error  # type: ignore[misc]
