"""A whole host for tests: a network stack and a mount table of its own, a helper in it, and engines beside it.

What the helper makes is in the machine's own stack, so that tests neither meet each other nor the Skep that may run
here; and every process that the helper begins is known by the machine's mount table. Run as a program, this file is an
engine (see ``main``).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from skep_helper import vocabulary as v
from skep_helper.guard import state as guard_state
from skepd.engine.engine import Engine, Settings
from skepd.files import DiskFiles
from skepd.helper_client import HelperClient
from skepd.host import Host, HostError, Progress
from skepd.plan.observed import READINGS, Observed
from skepd.platform.linux.facts import read_facts

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("SKEP_TEST_CACHE", "/var/tmp/skep-test-cache/skep-small"))
USER = "nobody"
SAFETY = 300.0
IMAGE = "skep-small"
FOLDERS = ("images", "filters", "networks", "routers", "ports", "journals")
READS = (
    v.ReadStorage,
    v.ReadNetworks,
    v.ReadGuests,
    v.ReadConsole,
    v.Probe,
    v.Hello,
    v.ReadInventory,
    v.ReadUsage,
    v.CompareSnapshot,
)
_MOUNT_PRIVATE = ["unshare", "--net", "--mount", "--propagation", "private"]


class Machine:
    """run(argv): a command on the machine. folder: holds pool, run and state."""

    def __init__(self, *, helper: bool = True) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="skep-h-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.pool, self.runtime, self.state = (self.folder / name for name in ("pool", "run", "state"))
        self.socket = self.runtime / "helper.sock"
        self.uid = pwd.getpwnam(USER).pw_uid
        # Namespaces are found below /run/netns: the machine has a folder of its own there.
        begin = "mkdir -p /run/netns; mount -t tmpfs none /run/netns; ip link set lo up; echo; exec cat"
        self._holder = subprocess.Popen(
            [*_MOUNT_PRIVATE, "sh", "-c", begin], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self._make_folders()
        self.helper: subprocess.Popen[bytes] | None = None
        if helper:
            self.start_helper()

    def _make_folders(self) -> None:
        first = 800_000 + random.randrange(1000) * 100
        lines = [f'{name} = "{self.folder / name}"' for name in ("pool", "run", "log")]
        lines += [f'user = "{USER}"', 'group = "nogroup"', f"guest_uids = [{first}, {first + 99}]", "forwarding = true"]
        self.policy = self.folder / "policy.toml"
        self.policy.write_text("\n".join([*lines, ""]))
        self.policy.chmod(0o644)
        self.state.mkdir()
        for name in FOLDERS:
            (self.state / name).mkdir()
        for path in (self.state, *self.state.iterdir()):
            os.chown(path, self.uid, -1)

    # --- the machine ----------------------------------------------------------------------------------------------

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs this command on the machine."""
        spaces = f"/proc/{self._holder.pid}/ns"
        return ["nsenter", f"--net={spaces}/net", f"--mount={spaces}/mnt", "--wdns=/", *argv]

    def run(self, *argv: str) -> str:
        return subprocess.run(self.inside(argv), check=True, capture_output=True, text=True).stdout

    def processes(self) -> dict[int, str]:
        """Every process on the machine, but the one that holds it, by name."""
        mine = os.readlink(f"/proc/{self._holder.pid}/ns/mnt")
        found: dict[int, str] = {}
        for name in os.listdir("/proc"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if name.isdigit() and os.readlink(f"/proc/{name}/ns/mnt") == mine and int(name) != self._holder.pid:
                    command = Path(f"/proc/{name}/cmdline").read_text()
                    name_shown = Path(f"/proc/{name}/comm").read_text().strip()
                    is_spawner = "guard.spawner" in command and name_shown != "skep-guard"
                    found[int(name)] = "spawner" if is_spawner else name_shown
        return found

    def namespaces(self) -> list[str]:
        return sorted(os.listdir(f"/proc/{self._holder.pid}/root/run/netns"))

    def links(self) -> list[str]:
        return sorted(link["ifname"] for link in json.loads(self.run("ip", "-j", "link")))

    def ruleset(self) -> str:
        return self.run("nft", "-s", "list", "ruleset")

    def mounts(self) -> list[str]:
        return Path(f"/proc/{self._holder.pid}/mountinfo").read_text().splitlines()

    def files(self) -> list[str]:
        """Every path of the machine but those that a guest or a log makes in its own time."""
        passing = (".log", ".lock", "vmm.conf", ".kvm.json")
        found = []
        for top in (self.pool, self.runtime, self.state):
            for folder, folders, files in os.walk(top):
                found += [os.path.relpath(os.path.join(folder, name), self.folder) for name in (*folders, *files)]
        # The index, what a guest has said so far, and a spawner of guards, which may be there or not (see test_kills).
        hidden = ("/index.sqlite", "/serial/", "/.spawner-")
        return sorted(path for path in found if not path.endswith(passing) and not any(part in path for part in hidden))

    # --- the helper -----------------------------------------------------------------------------------------------

    def start_helper(self) -> None:
        command = [sys.executable, "-m", "skep_helper.main", "--policy", str(self.policy)]
        with open(self.folder / "helper.log", "ab") as log:
            self.helper = subprocess.Popen(self.inside(command), stderr=log)
        client = self.client()
        client.hello()
        client.close()

    def stop_helper(self) -> None:
        if self.helper is not None:
            self.helper.terminate()
            self.helper.wait(SAFETY)
            self.helper = None

    def kill_helper(self) -> None:
        assert self.helper is not None
        self.helper.kill()
        self.helper.wait()
        self.start_helper()

    def kill_guard(self, guest: str) -> bool:
        """False when the guest has no guard at this moment."""
        record = guard_state.read(guard_state.Folder(str(self.runtime), guest))
        folder = guard_state.Folder(str(self.runtime), guest)
        if record is None or not guard_state.guarded(folder):
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(record["guard"], signal.SIGKILL)
        return True

    def client(self) -> HelperClient:
        return HelperClient(self.socket, patience=60.0)

    def observe(self) -> Observed:
        client = self.client()
        try:
            return Observed.of(client.perform(READINGS))
        finally:
            client.close()

    def publish(self) -> None:
        """Have the guest image on the machine."""
        path = small_image()
        client = self.client()
        size = path.stat().st_size
        _, descriptor = client.open(v.OpenImageWriter(image=IMAGE, version="1", format="qcow2", size=size))
        with open(path, "rb") as source, os.fdopen(descriptor, "r+b") as target:
            shutil.copyfileobj(source, target)
        client.perform([v.PublishImage(image=IMAGE, version="1", format="qcow2", digest="0" * 64)])
        client.close()

    # --- engines --------------------------------------------------------------------------------------------------

    def settings(self, connect: Callable[[], Host], parallel: int = 4) -> Settings:
        return Settings(
            files=DiskFiles(),
            state=self.state,
            pool_guests=self.pool / "guests",
            connect=connect,
            read_facts=read_facts,
            pull=no_pull,
            version="test",
            index=self.state / "index.sqlite",
            parallel=parallel,
        )

    @contextlib.contextmanager
    def engine(self) -> Iterator[Engine]:
        """An engine in this process."""
        engine = Engine(self.settings(self.client))
        try:
            engine.recover()
            yield engine
        finally:
            engine.close()

    def close(self) -> None:
        """End everything on the machine, and leave nothing of it."""
        if self.helper is not None:
            with contextlib.suppress(HostError, OSError):
                self.sweep()
        self.stop_helper()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait()
        self._holder.stdout.close()
        shutil.rmtree(self.folder)

    def sweep(self) -> None:
        """Ask the helper to end all guests: QEMU, which is not killed in the middle of a write."""
        client = self.client()
        for guest in self.observe().guests:
            client.perform([v.StopGuest(guest=guest.name, timeout=0)])
        client.close()


@contextlib.contextmanager
def machine(*, helper: bool = True) -> Iterator[Machine]:
    """helper: whether one runs from the beginning."""
    made = Machine(helper=helper)
    try:
        yield made
    finally:
        made.close()


def no_pull(host: Host, name: str, version: str, sources: Sequence[str], **_: Any) -> None:
    raise AssertionError(f"nobody asked for image {name}:{version}")


def small_image() -> Path:
    """The guest image, built once on each machine."""
    path = CACHE / f"{IMAGE}.qcow2"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lab.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build = [sys.executable, str(ROOT / "tools" / "build_image.py"), "--output", str(CACHE), "--keep-packages"]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    return path


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of condition(); the time is only a safety net."""
    end = time.monotonic() + SAFETY
    while not (value := condition()):
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)
    return value


# --- an engine as a process of its own --------------------------------------------------------------------------------


class Announcing:
    """A host that says `before NUMBER REQUEST` and `after NUMBER REQUEST` on standard output for everything that
    changes something, and goes on when a line comes on standard input."""

    _lock = threading.Lock()
    _count = 0

    def __init__(self, host: HelperClient) -> None:
        self._host = host
        self.hello, self.open, self.cancel, self.close = host.hello, host.open, host.cancel, host.close

    def perform(self, requests: Sequence[Any], progress: Progress | None = None) -> tuple[Any, ...]:
        if all(isinstance(request, READS) for request in requests):
            return self._host.perform(requests, progress)
        with Announcing._lock:
            Announcing._count += 1
            label = f"{Announcing._count} {'+'.join(type(request).__name__ for request in requests)}"
        self._announce(f"before {label}")
        try:
            return self._host.perform(requests, progress)
        finally:
            self._announce(f"after {label}")

    @staticmethod
    def _announce(line: str) -> None:
        print(line, flush=True)
        sys.stdin.readline()


def main(socket: Path, state: Path, pool: Path, site: Path | None) -> None:
    """Recover, then apply a site; `result JSON` on standard output. As an ordinary user."""
    import sqlite3  # noqa: F401 - while the modules can still be read, wherever they lie

    made = Machine.__new__(Machine)
    made.state, made.pool = state, pool
    text = site.read_text() if site else ""
    user = pwd.getpwnam(USER)
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    engine = Engine(made.settings(lambda: Announcing(HelperClient(socket, patience=60.0)), parallel=1))
    engine.recover()
    result: dict[str, Any] = {"state": "done", "error": "", "steps": [], "log": []}
    if text:
        operation = engine.wait(engine.apply_site(text, "site.toml", restart=True).id, SAFETY)
        result = {
            "state": operation.state,
            "error": operation.error,
            "steps": [step.summary for step in operation.steps],
            "log": operation.log,
        }
    result["recovered"] = [[one.title, one.state, one.error] for one in engine.operations()]
    engine.close()
    result["descriptors"] = sorted(os.readlink(f"/proc/self/fd/{name}") for name in _own_descriptors())
    print(f"result {json.dumps(result)}", flush=True)


def _own_descriptors() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if int(name) > 2 and os.readlink(f"/proc/self/fd/{name}") != f"/proc/{os.getpid()}/fd":
                found.append(name)
    return found


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    main(*paths[:3], paths[3] if len(paths) > 3 else None)
