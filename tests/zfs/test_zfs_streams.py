"""Streams between two hosts on real OpenZFS: replicas, changes, interruptions, and what is refused."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zfs_lab
from skep_helper import vocabulary as v
from skepd.host import HostError
from zfs_host import DISK, GUEST, MIB, Transfer, ZfsHost, hosts, make_guest, move
from zfs_lab import zfs


@pytest.fixture(scope="module")
def both(module_pool: str) -> Iterator[tuple[ZfsHost, ...]]:
    with hosts(module_pool, "one", "two") as found:
        yield found


@pytest.fixture
def pair(both: tuple[ZfsHost, ...]) -> Iterator[tuple[ZfsHost, ZfsHost]]:
    """A host with a guest that has a snapshot `one`, and an empty host."""
    source, target = both
    make_guest(source)
    source.write(os.urandom(12 * MIB))
    source.do(v.SnapshotGuest(guest=GUEST, snapshot="one"))
    yield source, target
    for host in both:
        if host.volume().rpartition("/")[0] in zfs_lab.names("-r", host.dataset):
            zfs_lab.wipe(f"{host.dataset}/guests/{GUEST}")


def properties(dataset: str, *keys: str) -> list[str]:
    return zfs("get", "-Hp", "-o", "value", ",".join(keys), dataset).split()


def test_a_guest_moves(pair: tuple[ZfsHost, ZfsHost]) -> None:
    source, target = pair
    move(source, target)
    folder = target.guest()
    assert folder is not None
    assert not folder.promoted_here
    assert [disk.disk for disk in folder.disks] == [DISK]
    assert [snapshot.snapshot for snapshot in folder.snapshots] == ["one"]
    assert properties(target.volume(), "readonly") == ["on"]
    there = f"{target.dataset}/guests/{GUEST}"
    assert properties(there, "mounted", "canmount", "readonly") == ["no", "noauto", "on"]
    assert target.digest() == source.digest()
    target.do(v.PromoteGuest(guest=GUEST), v.PromoteGuest(guest=GUEST))
    folder = target.guest()
    assert folder is not None
    assert folder.promoted_here
    assert properties(there, "mounted", "canmount", "readonly") == ["yes", "on", "off"]
    definition = target.folder / "pool" / "guests" / GUEST / "definition"
    assert (definition.stat().st_uid, definition.stat().st_mode & 0o777) == (65534, 0o700)
    target.write(b"the guest runs here now")
    target.do(v.RollBackGuest(guest=GUEST, snapshot="one"))
    assert target.digest() == source.digest()
    assert Transfer(source, target).run().error.code == "conflict"  # type: ignore[union-attr]


def test_changes_follow_from_a_snapshot_and_from_a_bookmark(pair: tuple[ZfsHost, ZfsHost]) -> None:
    source, target = pair
    move(source, target)
    source.write(b"two", 20 * MIB)
    source.do(v.SnapshotGuest(guest=GUEST, snapshot="two"))
    move(source, target, snapshot="two", base="one")
    assert target.digest() == source.digest()
    source.do(v.BookmarkSnapshot(guest=GUEST, snapshot="two"), v.BookmarkSnapshot(guest=GUEST, snapshot="two"))
    for name in ("one", "two"):
        source.do(v.RemoveSnapshot(guest=GUEST, snapshot=name))
    source.write(b"three", 24 * MIB)
    source.do(v.SnapshotGuest(guest=GUEST, snapshot="three"))
    stream = {"guest": GUEST, "disk": DISK, "snapshot": "three"}
    change = v.SnapshotStream(**stream, base="two", base_kind="bookmark")  # type: ignore[arg-type]
    sizes = source.do(v.EstimateSend(stream=change), v.EstimateSend(stream=v.SnapshotStream(**stream)))  # type: ignore[arg-type]
    assert 0 < sizes[0].size < MIB < sizes[1].size
    move(source, target, snapshot="three", base="two", base_kind="bookmark")
    assert target.digest() == source.digest()
    points = {part.disk: [point.name for point in part.points] for part in target.replica().parts}
    assert points == {"": ["one", "two", "three"], DISK: ["one", "two", "three"]}
    # Again: it is there, and the stream is taken to its end.
    move(source, target, snapshot="three", base="two", base_kind="bookmark")
    source.do(v.BookmarkSnapshot(guest=GUEST, snapshot="two", remove=True))
    assert not any("#" in name for name in source.names("-t", "bookmark"))


def test_a_raw_stream_and_an_unpacked_one(pair: tuple[ZfsHost, ZfsHost]) -> None:
    source, target = pair
    move(source, target, raw=True)
    assert target.digest() == source.digest()
    target.do(v.TrashGuestFolder(guest=GUEST, key="a" * 32), v.EmptyTrash(key="a" * 32))
    move(source, target, compressed=False)
    assert target.digest() == source.digest()


def test_an_interrupted_stream_is_resumed(pair: tuple[ZfsHost, ZfsHost]) -> None:
    source, target = pair
    assert Transfer(source, target).run().error is None
    cut = Transfer(source, target, disk=DISK, cut=5 * MIB).run()
    assert cut.error is not None
    assert (cut.error.code, "resume it with the token" in cut.error.message) == ("failed", True)
    (token,) = (part.token for part in target.replica().parts if part.disk == DISK)
    assert target.refused(v.PromoteGuest(guest=GUEST)).code == "conflict"
    whole = Transfer(source, target, disk=DISK).run()
    assert whole.error is not None
    assert (whole.error.code, "abandon" in whole.error.message) == ("conflict", True)
    rest = Transfer(source, target, disk=DISK, token=token).run()
    assert (rest.error, rest.send_error) == (None, None)
    assert rest.passed < 10 * MIB
    assert target.digest() == source.digest()
    assert {part.token for part in target.replica().parts} == {""}


def test_an_interrupted_stream_is_abandoned_and_its_token_grows_stale(pair: tuple[ZfsHost, ZfsHost]) -> None:
    source, target = pair
    assert Transfer(source, target).run().error is None
    Transfer(source, target, disk=DISK, cut=5 * MIB).run()
    (token,) = (part.token for part in target.replica().parts if part.disk == DISK)
    source.do(v.SnapshotGuest(guest=GUEST, snapshot="two"), v.RemoveSnapshot(guest=GUEST, snapshot="one"))
    stale = source.refused(v.EstimateSend(stream=v.SnapshotStream(guest=GUEST, disk=DISK, snapshot="one", token=token)))
    assert (stale.code, "stale" in stale.message) == ("missing", True)
    abandon = v.AbandonReceive(guest=GUEST, disk=DISK)
    target.do(abandon, abandon)
    assert target.volume().removeprefix(target.dataset) not in target.names()
    # The folder came before it was interrupted: it and the source have no snapshot in common any more.
    apart = Transfer(source, target, snapshot="two").run().error
    assert apart is not None
    assert (apart.code, "remove the replica" in apart.message) == ("exists", True)
    target.do(v.TrashGuestFolder(guest=GUEST, key="a" * 32), v.EmptyTrash(key="a" * 32))
    move(source, target, snapshot="two")
    assert target.digest() == source.digest()


def test_a_token_opens_no_other_dataset(pair: tuple[ZfsHost, ZfsHost], module_pool: str) -> None:
    """A token names what is sent by its guid: one of the administrator's data must not pass for a guest's."""
    source, _ = pair
    secret = f"{module_pool}/secret"
    zfs("create", "-V", "16M", secret)
    try:
        zfs_lab.await_node(secret).write_bytes(os.urandom(8 * MIB))
        zfs("snapshot", f"{secret}@skep-one")
        data = subprocess.run(["zfs", "send", f"{secret}@skep-one"], capture_output=True, check=True).stdout
        copy = f"{module_pool}/copy"
        subprocess.run(["zfs", "receive", "-s", copy], input=data[: 4 * MIB], check=False, capture_output=True)
        (token,) = properties(copy, "receive_resume_token")
        stream = v.SnapshotStream(guest=GUEST, disk=DISK, snapshot="one", token=token)
        error = source.refused(v.EstimateSend(stream=stream))
        assert (error.code, "not of snapshot one" in error.message) == ("rejected", True)
        zfs("receive", "-A", copy)
    finally:
        zfs("destroy", "-r", secret)


def feed(target: ZfsHost, data: bytes, **fields: Any) -> HostError:
    """What a stream of these bytes is refused with."""
    reader, writer = os.pipe()

    def write() -> None:
        try:
            with open(writer, "wb") as end:
                end.write(data)
        except BrokenPipeError:
            return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        target.client.stream(v.ReceiveSnapshot(**{"guest": GUEST, "snapshot": "one", **fields}), reader)
    except HostError as error:
        return error
    finally:
        os.close(reader)
        thread.join()
    raise AssertionError("it was not refused")


def test_what_is_no_stream_of_this_part_is_refused(pair: tuple[ZfsHost, ZfsHost]) -> None:
    source, target = pair
    folder = f"{source.dataset}/guests/{GUEST}"

    def sent(*words: str) -> bytes:
        return subprocess.run(["zfs", "send", *words], capture_output=True, check=True).stdout

    for data, words in (
        (b"", "ends before it has begun"),
        (b"x" * 10_000, "not a ZFS stream"),
        (sent("-R", f"{folder}@skep-one"), "several snapshots or properties"),
        (sent("-p", f"{folder}@skep-one"), "several snapshots or properties"),
        (sent(f"{source.volume()}@skep-one"), "wanted is a filesystem"),
    ):
        error = feed(target, data)
        assert (error.code, words in error.message) == ("rejected", True), error
    other = feed(target, sent(f"{folder}@skep-one"), snapshot="two")
    assert (other.code, "the stream is of" in other.message) == ("rejected", True)
    missing = feed(target, sent(f"{source.volume()}@skep-one"), disk=DISK)
    assert (missing.code, "folder first" in missing.message) == ("missing", True)
    assert target.guest() is None


def test_a_receive_is_cancelled_and_leaves_no_process(pair: tuple[ZfsHost, ZfsHost]) -> None:
    source, target = pair
    assert Transfer(source, target).run().error is None
    reader, writer = os.pipe()
    stream = subprocess.run(["zfs", "send", f"{source.volume()}@skep-one"], capture_output=True, check=True).stdout
    told = threading.Event()
    errors: list[HostError] = []

    def receive() -> None:
        request = v.ReceiveSnapshot(guest=GUEST, disk=DISK, snapshot="one", size=len(stream))
        try:
            target.client.stream(request, reader, lambda done, total: told.set() if done > MIB else None)
        except HostError as error:
            errors.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    with open(writer, "wb", buffering=0) as end:
        for place in range(0, 6 * MIB, 65536):
            end.write(stream[place : place + 65536])
        assert told.wait(120)
        target.client.cancel()
        thread.join()
    os.close(reader)
    assert [error.code for error in errors] == ["cancelled"]
    assert receivers() == []


def receivers() -> list[str]:
    """Command lines of `zfs receive` and `zfs send` that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:1] == [b"zfs"] and words[1:2] in ([b"receive"], [b"send"]):
            found.append(b" ".join(words).decode())
    return found


def test_a_replica_that_was_written_takes_no_more(pair: tuple[ZfsHost, ZfsHost]) -> None:
    source, target = pair
    move(source, target)
    zfs("set", "readonly=off", target.volume())
    target.write(b"somebody", 2 * MIB)
    source.do(v.SnapshotGuest(guest=GUEST, snapshot="two"))
    error = Transfer(source, target, disk=DISK, snapshot="two", base="one").run().error
    assert error is not None
    assert (error.code, "roll it back" in error.message) == ("conflict", True)
