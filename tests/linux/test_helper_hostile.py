"""A sample of hostile requests through the real socket of the real helper, with strace watching what it does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_requests import GUESTS, STORAGE, Hostile
from skep_helper import codec, main, wire
from skep_helper.vocabulary import CreateGuestFolder, ReadGuests, ReadStorage, Rejected, StartGuest
from skepd.helper_client import HelperClient

pytestmark = pytest.mark.real
SAMPLE = 3000
PATIENCE = 120.0
# What changes something in a file system, or starts or stops something.
CALLS = (
    "open,openat,creat,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    "chmod,fchmodat,chown,lchown,fchownat,truncate,mknod,mknodat,setxattr,lsetxattr,utimensat,execve,execveat,mount,"
    "umount2,pivot_root,chroot,setns,unshare,kill,tgkill,bind,init_module,finit_module,sethostname,reboot,swapon,"
    "settimeofday,ptrace,bpf"
)
TOOLS = {"/usr/bin/qemu-img", "/usr/bin/xorrisofs", "/usr/bin/xorriso"}
LINE = re.compile(r"^\d+ +(?P<call>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
AT = re.compile(r'(?:AT_FDCWD<[^>]*>|\d+<(?P<folder>[^>]*)>), "(?P<name>(?:[^"\\]|\\.)*)"')
# Requests about networks are in tests/linux/test_network*: they are meant to change the host's stack.
SOURCE = (*STORAGE, *(request for request in GUESTS if not isinstance(request, StartGuest)))


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The helper of this tree with roots below a temporary folder."""
    policy = tmp_path / "policy.toml"
    lines = [f'{name} = "{tmp_path / name}"' for name in ("pool", "run", "log")]
    policy.write_text("\n".join([*lines, 'user = "nobody"', "memory_limit = 1", ""]))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with open(tmp_path / "helper.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "skep_helper.main", "--policy", str(policy)], stderr=log, env=environment
        )
    try:
        yield process, tmp_path
    finally:
        process.terminate()
        process.wait(PATIENCE)


@contextlib.contextmanager
def straced(pid: int, output: Path) -> Iterator[None]:
    """strace on a process and its children while this lasts."""
    tracer = subprocess.Popen(
        ["strace", "-f", "-y", "-s", "4096", "-o", str(output), "-e", f"trace={CALLS}", "-p", str(pid)],
        stderr=subprocess.PIPE,
    )
    assert tracer.stderr is not None
    try:
        assert b"attached" in tracer.stderr.readline()
        yield
    finally:
        tracer.terminate()
        tracer.wait(PATIENCE)
        tracer.stderr.close()


def converse(path: Path, frames: list[bytes]) -> Counter[str]:
    """Send each as the one request of a batch, on a new connection when the helper refused to go on."""
    codes: Counter[str] = Counter()
    connection: socket.socket | None = None
    for data in frames:
        if connection is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(PATIENCE)
            connection.connect(str(path))
        frame = b'{"id":1,"requests":[' + data + b"]}"
        connection.sendall(struct.pack(">I", len(frame)) + frame)
        answer = receive(connection)
        codes[answer.get("code", "done")] += 1
        if answer["id"] == 0:
            connection.close()
            connection = None
    if connection:
        connection.close()
    return codes


def receive(connection: socket.socket) -> dict[str, object]:
    reader = wire.Reader(wire.ANSWER_LIMIT)
    while True:
        frame = reader.read(connection)
        if frame:
            frame.close()
            message: dict[str, object] = json.loads(frame.data)
            if "progress" not in message:
                return message


def sample() -> list[bytes]:
    source = Hostile(seed=7, requests=SOURCE)
    return [codec.dumps(CreateGuestFolder(guest="files")), *(data for _ in range(SAMPLE) if (data := source.next()))]


def writes(call: str, arguments: str) -> bool:
    if call in ("open", "openat"):
        return any(flag in arguments for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"))
    return True


def paths(arguments: str) -> list[str]:
    """The full paths that a call names."""
    found = [os.path.join(match["folder"] or "/", match["name"]) for match in AT.finditer(arguments)]
    return [os.path.normpath(path) for path in found or STRING.findall(arguments)[:2]]


def violation(line: str, roots: tuple[str, ...]) -> bool:
    match = LINE.match(line)
    if not match or match["result"].startswith("-") or not writes(match["call"], match["arguments"]):
        return False
    call, arguments = match["call"], match["arguments"]
    if call in ("execve", "execveat"):
        return STRING.findall(arguments)[0] not in TOOLS
    named = paths(arguments)
    if call in ("kill", "tgkill", "setns", "unshare", "mount", "umount2", "ptrace", "bpf", "chroot", "pivot_root"):
        # Only its own long requests may be signalled: a process group, by a negative number.
        return not (call == "kill" and arguments.startswith("-"))
    return not named or not all(
        path.startswith(roots) or path == "/dev/null" or re.fullmatch(r"/(dev|proc/self)/fd/\d+", path)
        for path in named
    )


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_nothing_outside_the_roots_is_touched(helper: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, folder = helper
    client = HelperClient(folder / "run" / "helper.sock", patience=PATIENCE)
    client.hello()
    client.perform([ReadGuests(), ReadStorage()])
    trace = folder / "trace"
    with straced(process.pid, trace):
        codes = converse(folder / "run" / "helper.sock", sample())
    lines = trace.read_text(errors="replace").splitlines()
    roots = (f"{folder}/pool/", f"{folder}/run/")
    assert [line for line in lines if violation(line, roots)] == []
    # It saw something: tools were started, files made, and most requests refused.
    executed = {STRING.findall(line)[0] for line in lines if " execve(" in line and line.endswith("= 0")}
    assert "/usr/bin/qemu-img" in executed
    assert any("O_CREAT" in line and "/pool" in line for line in lines)
    assert codes["rejected"] > SAMPLE / 2
    assert codes["done"] > 10
    assert process.poll() is None
    assert client.perform([ReadGuests()]) == ((),)
    client.close()
    leftovers = [name for name in os.listdir(folder / "pool" / "guests") if name.startswith(".")]
    assert leftovers == []


@pytest.mark.parametrize(
    "line",
    [
        '12 openat(AT_FDCWD</>, "/etc/passwd", O_RDWR|O_CLOEXEC) = 3</etc/passwd>',
        '12 openat(5</tmp/x/pool>, "../a", O_WRONLY|O_CREAT, 0600) = 3',
        '12 unlink("/etc/passwd") = 0',
        '12 renameat(5</tmp/x/pool>, "a", 6</etc>, "b") = 0',
        '12 execve("/bin/sh", ["sh"], 0x7ffe /* 3 vars */) = 0',
        "12 kill(1, SIGTERM) = 0",
        '12 mount("none", "/mnt", "tmpfs", 0, NULL) = 0',
    ],
)
def test_the_judge_of_the_trace_judges(line: str) -> None:
    assert violation(line, ("/tmp/x/pool/", "/tmp/x/run/"))


def test_the_sample_is_hostile() -> None:
    refused = 0
    for data in sample():
        with contextlib.suppress(ValueError):
            try:
                codec.decode(codec.loads(data))
            except Rejected:
                refused += 1
    assert SAMPLE / 2 < refused < SAMPLE


def test_the_helper_is_small(helper: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, folder = helper
    client = HelperClient(folder / "run" / "helper.sock", patience=PATIENCE)
    client.hello()
    for _ in range(20):
        client.perform([ReadGuests(), ReadStorage()] * 50)
    client.close()
    status = Path(f"/proc/{process.pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0])
    assert resident <= 25 * 1024, f"{resident} KiB resident"


def test_a_second_helper_does_not_start(
    helper: tuple[subprocess.Popen[bytes], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = helper
    client = HelperClient(folder / "run" / "helper.sock", patience=PATIENCE)
    client.hello()
    monkeypatch.setattr(main, "_PATIENCE", 0.0)
    assert main.main(["--policy", str(folder / "policy.toml")]) == main.EX_OSERR
    assert "another skep-helper serves" in capsys.readouterr().err
    client.perform([ReadGuests()])
    client.close()


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ('pool = "relative"', "pool must be an absolute path"),
        ('user = "nobody-of-that-name"', "does not exist on this host"),
        ("colour = 1", "unknown key 'colour'"),
    ],
)
def test_a_wrong_policy_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: str, words: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(policy)
    assert main.main(["--policy", str(path), "--check"]) != 0
    assert words in capsys.readouterr().err
    path.write_text('user = "nobody"')
    assert main.main(["--policy", str(path), "--check"]) == 0
    path.chmod(0o666)
    assert main.main(["--policy", str(path), "--check"]) == main.EX_CONFIG
    assert "writable by nobody else" in capsys.readouterr().err
