"""A helper for tests: the real loop with handlers whose behaviour the tests choose. Run as a program, it serves."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skep_helper.handlers import Context, Failure
from skep_helper.policy import Policy
from skep_helper.vocabulary import (
    CreateDisk,
    Feature,
    OpenScreen,
    PauseGuest,
    PublishImage,
    ResetGuest,
    ResumeGuest,
    SendSnapshot,
)

PATIENCE = 60.0


def policy_below(folder: Path) -> Policy:
    """A policy whose roots lie below a temporary folder, for a user that is not root."""
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    return Policy(pool=folder / "pool", run=folder / "run", log=folder / "log", user=user)


def wait_for(condition: Any, what: str) -> Any:
    """The first true value of condition(); the time is only a safety net."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"never happened: {what}")


def long_request(context: Context, request: CreateDisk) -> Any:
    """The disk's name says what to do."""
    marker = context.policy.run / f"{request.guest}.{request.disk}.pid"
    marker.write_text(str(os.getpid()))
    if request.disk == "hung":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(3600)
    if request.disk == "tool":
        # Hangs together with a process that it started.
        tool = subprocess.Popen(["sleep", "3600"])
        marker.with_suffix(".tool").write_text(str(tool.pid))
        tool.wait()
    if request.disk == "patient":
        done = 0
        while not (context.policy.run / "go-on").exists():
            context.progress(done, 1_000_000)
            done += 1
            time.sleep(0.01)
    if request.disk == "dies":
        os._exit(3)
    if request.disk.startswith("opens"):
        context.answer_descriptors.append(os.open("/dev/null", os.O_RDONLY))
    if request.disk == "opens-and-fails":
        raise Failure("failed", "something went wrong after it was opened")
    return {"pid": os.getpid()}


def short_request(context: Context, request: PauseGuest) -> Any:
    with open(context.policy.run / "order", "a") as stream:
        stream.write(f"{request.guest}\n")
    if request.guest == "large":
        return {"data": "x" * (8 << 20)}
    return {"pid": os.getpid(), "uid": context.peer_uid}


def failing(context: Context, request: ResetGuest) -> Any:
    raise Failure("conflict", "this always fails\nwith a second line")


def defective(context: Context, request: ResumeGuest) -> Any:
    raise ZeroDivisionError("a defect")


def opening(context: Context, request: OpenScreen) -> Any:
    descriptor = os.memfd_create("screen")
    os.write(descriptor, request.guest.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    context.answer_descriptors.append(descriptor)
    return {"guest": request.guest}


def streaming(context: Context, request: SendSnapshot) -> Any:
    """Writes the guest's name, and then as much as the snapshot's name says, until it is cancelled or done."""
    (descriptor,) = context.descriptors
    os.write(descriptor, request.stream.guest.encode())
    while request.stream.snapshot == "endless":
        context.progress(1, 2)
        time.sleep(0.01)
    return {"wrote": len(request.stream.guest)}


def features(policy: Policy) -> tuple[Feature, ...]:
    """Slow until the test lets it go on, when it asks for that."""
    while (policy.run / "slow-probing").exists():
        time.sleep(0.01)
    return (Feature(name="kvm", works=False, reason="this is a test"),)


def serve(folder: Path) -> None:
    from skep_helper import jobs, main, platforms, server, users

    policy = policy_below(folder)
    jobs.GRACE = 0.3
    platform = platforms.Platform(
        name="test",
        boot_id="boot-1",
        handlers={
            CreateDisk: long_request, PublishImage: failing, PauseGuest: short_request, ResetGuest: failing,
            ResumeGuest: defective, OpenScreen: opening, SendSnapshot: streaming,
        },
        long=frozenset({CreateDisk, PublishImage, SendSnapshot}),
        features=features,
        prepare=lambda policy: None,
        recover=lambda policy: None,
    )  # fmt: skip
    uid, gid = users.user_of(policy)
    listener = main.listen(policy.run / "helper.sock", gid)
    server.Server(policy, platform, listener, frozenset({0, uid})).run()


class Lab:
    """A running helper. `folder` holds its roots; `log` is what it wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.run.mkdir(exist_ok=True)
        self.socket = self.run / "helper.sock"
        self.start()

    def start(self) -> None:
        with open(self.folder / "helper.log", "ab") as log:
            self.process = subprocess.Popen([sys.executable, __file__, str(self.folder)], stderr=log)

    @property
    def log(self) -> str:
        return (self.folder / "helper.log").read_text()

    def pid_of(self, marker: str) -> int:
        """The pid that a long request left in the run folder."""
        return int(wait_for(lambda: _text(self.run / marker), f"{marker} in the run folder"))

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def running(folder: Path) -> Iterator[Lab]:
    lab = Lab(folder)
    try:
        yield lab
    finally:
        if lab.process.poll() is None:
            lab.process.terminate()
            try:
                lab.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                lab.process.kill()
                lab.process.wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
