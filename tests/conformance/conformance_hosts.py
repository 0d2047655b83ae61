"""The hosts that the suite runs against: the simulated one, and this machine through a helper that is started for it.

A helper is started by its command line, with a policy that the suite writes. Where a bare system lacks what guests
need, the platform's program in HELPERS starts it with stand-ins, and says so.

SKEP_CONFORMANCE: `sim` for the simulated host alone, the platform's name (`linux`, `freebsd`) for this machine alone;
unset: the simulated one, and this machine too if we are root. SKEP_HELPER: the socket of a helper that runs already
(a Skep that is in use should not be one: the suite makes and removes guests and networks whose names begin with
`conform`). SKEP_CONFORMANCE_POOL: where the helper that is started keeps guests and images, instead of a temporary
folder. SKEP_CONFORMANCE_DATASET: a dataset that is not there yet (tank/skep-conform) for it to keep them in.
"""

from __future__ import annotations

import grp
import os
import pwd
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import skep_helper
from conformance_lab import CABLE, POOL, SWITCH, sweep
from skep_helper import platforms
from skep_helper.policy import Policy
from skepd.helper_client import HelperClient
from skepd.host import Host
from skepd.platform.sim import SimHost

SIM = "sim"
HELPERS = {"freebsd": "freebsd_helper.py"}
_ON_ZFS = ("freebsd",)
"""Platforms whose storage is a dataset; the others keep files."""
_POOL_SIZE = 4 << 30
_PATIENCE = 120.0
_WANTED = os.environ.get("SKEP_CONFORMANCE", "")
_SOCKET = os.environ.get("SKEP_HELPER", "")
_POOL = os.environ.get("SKEP_CONFORMANCE_POOL", "")
_DATASET = os.environ.get("SKEP_CONFORMANCE_DATASET", "")


_swept: set[Path | None] = set()
"""Helpers whose host has nothing of the suite's since the last test."""


class Unable(Exception):
    """What the suite needs around a helper cannot be made, or does not go away."""


def hosts() -> tuple[str, ...]:
    """The names of the hosts to be tested. Raises SystemExit when the wanted one cannot be."""
    here = platform()
    if _WANTED == SIM:
        return (SIM,)
    able = bool(_SOCKET) or os.geteuid() == 0
    if not _WANTED:
        return (SIM, here) if able and _is_known() else (SIM,)
    if here != _WANTED:
        raise SystemExit(f"SKEP_CONFORMANCE={_WANTED}, but this machine runs {here}: name that, or sim")
    if not able:
        raise SystemExit(f"the conformance suite of {here} starts a helper: run it as root, or set SKEP_HELPER")
    return (here,)


def platform() -> str:
    """The name of this machine's platform."""
    return str(re.match("[a-z]*", sys.platform)[0])  # type: ignore[index]  # freebsd14 is freebsd


def _is_known() -> bool:
    try:
        platforms.load(Policy())
    except (LookupError, ImportError):
        return False
    return True


class Helper:
    """A helper under test. path: of its socket."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def logs(self) -> list[Path]:
        """What it and what it started write, as far as that is known."""
        return []

    def restart(self) -> None:
        """Anew, with all that it has: one that runs for somebody else is left alone."""


class _OwnHelper(Helper):
    """Started for the suite, in a folder of the suite's."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "run" / "helper.sock")
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def logs(self) -> list[Path]:
        return sorted(self._folder.glob("**/*.log"))

    def restart(self) -> None:
        self.stop()
        self.start()

    def start(self) -> None:
        policy = self._folder / "policy.toml"
        argv = [sys.executable, *_program(self._folder), "--policy", str(policy), "--socket", str(self.path)]
        # A bare Python knows its modules by PYTHONPATH alone.
        root = str(Path(skep_helper.__file__).parent.parent)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
        self.path.unlink(missing_ok=True)
        log = self._folder / "helper.log"
        with open(log, "ab") as stream:
            self._process = subprocess.Popen(argv, stderr=stream, env=environment)
        _await_listening(self._process, self.path, log)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_PATIENCE)


@contextmanager
def helper() -> Iterator[Helper]:
    """The helper that SKEP_HELPER names, or one of our own in a temporary folder."""
    if _SOCKET:
        yield Helper(Path(_SOCKET))
        return
    # Short, because the paths of Unix sockets are limited to about a hundred bytes.
    folder = Path(tempfile.mkdtemp(prefix="skep-c-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        with _dataset(folder) as dataset:
            policy = folder / "policy.toml"
            policy.write_text(_policy(folder, dataset))
            policy.chmod(0o644)
            own = _OwnHelper(folder)
            try:
                own.start()
                yield own
            finally:
                own.stop()
    finally:
        shutil.rmtree(folder)


@contextmanager
def _dataset(folder: Path) -> Iterator[str]:
    """A dataset mounted at FOLDER/pool, in a pool that is a sparse file; "" where the platform needs none.

    Where the dataset is given, the helper makes it, and it is destroyed afterwards.
    """
    if _DATASET:
        try:
            yield _DATASET
        finally:
            _run("zfs", "destroy", "-r", _DATASET)
        return
    if platform() not in _ON_ZFS:
        yield ""
        return
    with tempfile.NamedTemporaryFile(prefix=f"{POOL}-", dir="/var/tmp") as file:
        file.truncate(_POOL_SIZE)
        _run("kldload", "-n", "zfs")
        _run("zpool", "create", "-o", "cachefile=none", "-m", "none", POOL, file.name)
        try:
            _run("zfs", "create", "-o", f"mountpoint={folder / 'pool'}", f"{POOL}/skep")
            yield f"{POOL}/skep"
        finally:
            _run("zpool", "destroy", "-f", POOL)


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unable(f"{' '.join(argv)}: {done.stderr.strip()}")


def _program(folder: Path) -> list[str]:
    program = HELPERS.get(platform())
    if program is None:
        return ["-m", "skep_helper.main"]
    return [str(Path(__file__).resolve().parent / program), str(folder / "firmware")]


def _policy(folder: Path, dataset: str) -> str:
    user = pwd.getpwnam("nobody")
    first = 700_000 + random.randrange(1000) * 100
    places = {"pool": _POOL or folder / "pool", "run": folder / "run", "log": folder / "log"}
    lines = [f'{name} = "{place}"' for name, place in places.items()]
    lines += [f'user = "{user.pw_name}"', f'group = "{grp.getgrgid(user.pw_gid).gr_name}"']
    lines += [f"guest_uids = [{first}, {first + 99}]", 'interface_prefix = "skc"']
    lines += [f'uplinks = ["{CABLE}", "{SWITCH}"]']
    lines += [f'dataset = "{dataset}"'] if dataset else []
    return "\n".join([*lines, ""])


def _await_listening(process: subprocess.Popen[bytes], path: Path, log: Path) -> None:
    client = HelperClient(path, patience=1.0)
    try:
        while not path.exists():
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise Unable(f"skep-helper does not start: {log.read_text(errors='replace').strip()}")
        client.hello()
    finally:
        client.close()


@contextmanager
def connected(name: str, path: Path | None) -> Iterator[Host]:
    """A host with nothing of the suite's on it, swept again afterwards. path: of the helper, for a real one."""
    found: Host = SimHost() if path is None else HelperClient(path)
    try:
        if path is not None and not _SOCKET:
            assert found.hello().platform == name
        if path not in _swept:
            sweep(found)
        _swept.discard(path)
        try:
            yield found
        finally:
            sweep(found)
            _swept.add(path)
    finally:
        found.close()
