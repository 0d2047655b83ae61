"""100,000 mutated requests: none does anything outside the policy's roots.

Storage's handlers run for real, in a pool of their own; only qemu-img and xorrisofs are replaced by something that
looks at what they would be told. Requests about guests and networks are decoded, and what is accepted must not hold
a character that QEMU, dnsmasq or nft would take as syntax. A real helper under strace is in tests/linux.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helper_lab import policy_below
from hostile_requests import ADOPTION, GUESTS, HOST, NETWORKS, STORAGE, STREAMS, Hostile, places
from skep_helper import codec, log
from skep_helper.handlers import Context
from skep_helper.linux import storage
from skep_helper.linux.storage import images
from skep_helper.outcome import outcome_of
from skep_helper.policy import Policy
from skep_helper.storage import seed, tool
from skep_helper.vocabulary import PublishImage, Rejected

COUNT = int(os.environ.get("SKEP_HOSTILE_REQUESTS", "100000"))
FREE_TEXT = {"user_data", "meta_data", "network_config", "text", "type"}
# Compared with what the policy lists; no '..', no '@', nothing that an option could begin with.
DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*(/[A-Za-z0-9_][A-Za-z0-9_.:-]*)+")
PLAIN = re.compile(r"[A-Za-z0-9._+~:-]*(/[0-9]{1,3})?")
WATCHED = {
    "open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.chown",
    "os.truncate", "os.utime", "os.listdir", "os.scandir", "os.mkfifo", "os.mknod", "os.setxattr", "os.chdir",
    "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.kill", "os.killpg", "socket.connect",
    "socket.bind",
}  # fmt: skip


class Watch:
    """Python tells every file that is touched and every process that is started; here each must be allowed."""

    def __init__(self) -> None:
        self.roots: tuple[str, ...] = ()
        self.violations: list[str] = []
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.roots and event in WATCHED:
            allowed = event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir")
            if event in ("os.chown", "os.chmod", "os.truncate"):
                allowed = isinstance(arguments[0], int)
            names = arguments[:2] if event == "os.rename" else arguments[:1]
            if not allowed or not all(self._is_inside(name, event, arguments) for name in names):
                self.violations.append(f"{event}{arguments!r:.300}")

    def _is_inside(self, name: Any, event: str, arguments: tuple[Any, ...]) -> bool:
        """A descriptor that is open already, one component below one, or a path below a root."""
        if isinstance(name, int):
            return True
        name = os.fsdecode(name)
        if name == "/" or ("/" not in name and name not in ("", ".", "..")):
            return event != "open" or bool(arguments[2] & os.O_NOFOLLOW) or name == "/"
        return os.path.normpath(name) == name and name.startswith(self.roots)


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Policy]:
    """In memory where there is such a file system, because what we ask for syncs a lot."""
    folder = Path(tempfile.mkdtemp(prefix="skep-hostile-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    (folder / "outside").mkdir()
    (folder / "outside" / "secret").write_text("secret")
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder / "empty")
    policy = policy_below(folder)
    storage.prepare(policy)
    yield policy
    monkeypatch.undo()
    shutil.rmtree(folder)


def told(value: Any, policy: Policy) -> str | None:
    """What a tool may be told: plain words, open descriptors, paths below the roots. The offending argument."""
    words = re.compile(
        r"(json:)?[^\x00-\x1f\x7f,$`;|&<>*?~\\]*|json:\{[^\x00-\x1f\x7f$`;|&<>*?~\\]*\}|driver=\w+,[\w.=,/]*"
    )
    roots = (f"{policy.pool}/", f"{policy.run}/", "/dev/fd/")
    for argument in value:
        if not words.fullmatch(argument) or ".." in argument:
            return str(argument)
        if argument.startswith("/") and not argument.startswith(roots):
            return str(argument)
    return None


def empty_qcow2(size: int) -> bytes:
    """As much of a header as storage looks at."""
    fields = (b"QFI\xfb", 3, 0, 0, 16, size, 0, 1 << 20, 1 << 16, 1 << 16, 1, 0, 0, 0, 0, 0, 4, 104, 0, 0)
    return struct.pack(">4sIQIIQIIQQIIQQQQIIII", *fields)


@pytest.fixture
def tools(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Replaces what would start a process, or reserve memory by the gigabyte."""
    started: Counter[str] = Counter()

    def qemu_img(policy: Policy, arguments: Sequence[str], descriptors: Sequence[int], *more: Any) -> None:
        started[arguments[0]] += 1
        assert told(arguments, policy) is None
        if arguments[0] == "create":
            os.pwrite(descriptors[0], empty_qcow2(int(arguments[-1])), 0)

    def run(argv: Sequence[str]) -> None:
        started[argv[0]] += 1
        assert told(argv, policy) is None
        os.close(os.open(argv[-2], os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))

    monkeypatch.setattr(tool, "qemu_img", qemu_img)
    monkeypatch.setattr(seed, "run", run)
    monkeypatch.setattr(os, "posix_fallocate", lambda descriptor, start, length: None)
    monkeypatch.setattr(log, "line", lambda event, **words: None)
    return started


def syntax(message: Any) -> str | None:
    """A string in an accepted request that could be more than a word where it is used."""
    for container, key in places(codec.encode(message)):
        value = container[key]
        plain = DATASET if key == "source" else PLAIN
        if isinstance(value, str) and key not in FREE_TEXT and not plain.fullmatch(value):
            return f"{key}={value!r}"
    return None


def perform(policy: Policy, request: Any, peer_uid: int = 1000) -> str:
    """The code of the outcome; empty when it was done."""
    context = Context(policy=policy, peer_uid=peer_uid)
    handler = storage.HANDLERS[type(request)]
    outcome = outcome_of(lambda: codec.encode(handler(context, request)))
    for descriptor in context.answer_descriptors:
        os.close(descriptor)
    assert "defect" not in outcome.message, (outcome.message, request)
    return outcome.code


def below(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {
        os.path.join(place, name): (status.st_mode, status.st_size, status.st_mtime_ns)
        for place, folders, files in os.walk(folder)
        for name in (*folders, *files)
        for status in (os.lstat(os.path.join(place, name)),)
    }


EXPECTED = re.compile(
    r"(guests(/{n}(/(definition|disks(/{n}\.(qcow2|raw|json))?|snapshots(/{n}(/(record\.json|uefi-vars\.fd))?)?"
    r"|seed\.(iso|json)|rollback\.json))?)?"
    r"|images(/{n}(/{v}(/(image|record\.json))?)?)?"
    r"|incoming(/{n}@{v}(/(image|(request|record)\.json))?)?"
    r"|trash(/[0-9a-f]{{16,64}}(/(guests|disks)(/{n}(/.*)?)?)?)?)".format(
        n="[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", v=r"[0-9a-z][0-9a-z.+~-]{0,62}"
    )
)


def test_hostile_requests_have_no_effect_outside_the_policy(policy: Policy, tools: Counter[str], watch: Watch) -> None:
    folder = policy.pool.parent
    _publish_an_image(policy)
    outside = below(folder / "outside")
    source = Hostile(seed=20_261_121)
    outcomes: Counter[str] = Counter()
    gc.collect()  # what other tests of this process left unclosed is not ours to count
    descriptors = len(os.listdir("/proc/self/fd"))
    handled = tuple(storage.HANDLERS)
    for number in range(COUNT):
        data = source.next()
        try:
            request = codec.decode(codec.loads(data))
        except Rejected:
            outcomes["not decoded"] += 1
            continue
        assert syntax(request) is None, request
        if not isinstance(request, handled):
            outcomes["not storage"] += 1
            continue
        watch.roots = (f"{policy.pool}", f"{policy.run}")
        try:
            outcomes[perform(policy, request) or "done"] += 1
        finally:
            watch.roots = ()
        assert not watch.violations, (number, data)
    assert below(folder / "outside") == outside
    assert sorted(os.listdir(folder)) == ["empty", "outside", "pool", "run"]
    assert os.listdir(folder / "empty") == []
    strange = [path for path in below(policy.pool) if not EXPECTED.fullmatch(os.path.relpath(path, policy.pool))]
    assert strange == []
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    # The test itself is worth something: all kinds of outcomes happened, and real work was done.
    print(dict(outcomes), dict(tools))
    for outcome in ("not decoded", "not storage", "done", "rejected", "missing", "exists", "conflict", "full"):
        assert outcomes[outcome] > 0, outcome
    assert outcomes["not decoded"] > COUNT / 4
    assert tools["create"] > 0


def _publish_an_image(policy: Policy) -> None:
    from skep_helper.vocabulary import OpenImageWriter

    perform(policy, OpenImageWriter(image="small", version="1.0", format="raw", size=2 << 20))
    assert perform(policy, PublishImage(image="small", version="1.0", format="raw", digest="ab" * 32)) == ""
    assert images._published(policy, "small", "1.0")


def test_the_watch_would_see_it(policy: Policy, watch: Watch) -> None:
    secret = policy.pool.parent / "outside" / "secret"
    deeds = (
        lambda: secret.read_text(),
        lambda: os.open("secret", os.O_RDONLY | os.O_CREAT),
        lambda: os.mkdir(f"{policy.pool}/../made"),
        lambda: os.chmod(secret, 0o777),
        lambda: os.rename(f"{policy.pool}/guests", f"{policy.pool.parent}/moved"),
        lambda: os.system("true"),
    )
    for deed in deeds:
        watch.roots = (f"{policy.pool}", f"{policy.run}")
        try:
            deed()
        finally:
            watch.roots = ()
        assert watch.violations, deed
        watch.violations.clear()
    assert told(["create", "/etc/passwd"], policy) == "/etc/passwd"
    assert told(["-o", "a,b\nc"], policy) == "a,b\nc"


def test_every_request_of_the_vocabulary_is_among_the_valid_ones() -> None:
    named = {type(request).__name__ for request in (*STORAGE, *ADOPTION, *STREAMS, *GUESTS, *NETWORKS, *HOST)}
    from skep_helper import vocabulary

    answers = {"Feature", "FilterRule", "GuestSpec", "NetworkSpec", "PortSpec", "RouterSpec", "Rejected"}
    answers |= {"VmBhyveDisk", "VmBhyveGuest", "SendEstimate", "SnapshotStream", "StreamPoint"}
    answers |= {"HostUsage", "GuestUsage", "PortUsage", "UplinkUsage", "DiskChanges"}
    requests = {name for name in vocabulary.__all__ if not name.endswith("Reading")} - answers
    assert requests - named == {"Hello", "Cancel"}
    assert {kind.__name__ for kind in storage.HANDLERS} <= named


def test_the_valid_ones_are_valid() -> None:
    for request in (*STORAGE, *ADOPTION, *STREAMS, *GUESTS, *NETWORKS):
        assert codec.decode(codec.loads(codec.dumps(request))) == request
        assert syntax(request) is None
