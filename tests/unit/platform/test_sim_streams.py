"""Streams between simulated hosts: what a replica is, how it goes on, and what is refused."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any

import pytest
from skep_helper import vocabulary as v
from skepd.host import HostError
from skepd.platform.sim import SimHost

GUEST, DISK = "files", "data"


@pytest.fixture
def source() -> SimHost:
    host = SimHost()
    host.perform([v.CreateGuestFolder(guest=GUEST), v.CreateDisk(guest=GUEST, disk=DISK, size=8 << 20)])
    host.write_disk(GUEST, DISK, "one")
    host.perform([v.SnapshotGuest(guest=GUEST, snapshot="a")])
    return host


def transfer(source: SimHost, target: SimHost, cut: int | None = None, **fields: Any) -> None:
    """Send a part and receive it; cut: how many bytes come through. Raises what the receiver raises."""
    stream = v.SnapshotStream(**{"guest": GUEST, "snapshot": "a", **fields})
    reader, writer = os.pipe()

    def send() -> None:
        data = bytearray()
        inner, outer = os.pipe()
        thread = threading.Thread(target=lambda: (source.stream(v.SendSnapshot(stream=stream), outer), os.close(outer)))
        thread.start()
        while more := os.read(inner, 65536):
            data += more
        thread.join()
        os.close(inner)
        # A receiver that refuses reads nothing.
        with suppress(BrokenPipeError), open(writer, "wb") as end:
            end.write(memoryview(data)[:cut])

    thread = threading.Thread(target=send)
    thread.start()
    try:
        target.stream(v.ReceiveSnapshot(guest=GUEST, snapshot=stream.snapshot, disk=stream.disk), reader)
    finally:
        os.close(reader)
        thread.join()


def replica(host: SimHost) -> v.ReplicaReading:
    return host.perform([v.ReadReplica(guest=GUEST)])[0]


def test_a_replica_has_all_and_may_not_run_before_it_is_promoted(source: SimHost) -> None:
    target = SimHost()
    for disk in (None, DISK):
        transfer(source, target, disk=disk)
    (folder,) = target.perform([v.ReadStorage()])[0].folders
    assert (folder.guest, folder.promoted_here, [disk.disk for disk in folder.disks]) == (GUEST, False, [DISK])
    assert target.read_disk(GUEST, DISK) == "one"
    assert [part.points for part in replica(target).parts] == [part.points for part in replica(source).parts]
    target.perform([v.PromoteGuest(guest=GUEST), v.PromoteGuest(guest=GUEST)])
    assert replica(target).promoted_here
    with pytest.raises(HostError, match="is this host's own"):
        transfer(source, target)


def test_later_changes_follow_also_from_a_bookmark(source: SimHost) -> None:
    target = SimHost()
    for disk in (None, DISK):
        transfer(source, target, disk=disk)
    source.perform([v.BookmarkSnapshot(guest=GUEST, snapshot="a"), v.RemoveSnapshot(guest=GUEST, snapshot="a")])
    source.write_disk(GUEST, DISK, "two")
    source.perform([v.SnapshotGuest(guest=GUEST, snapshot="b")])
    change = v.SnapshotStream(guest=GUEST, disk=DISK, snapshot="b", base="a", base_kind="bookmark")
    whole = v.SnapshotStream(guest=GUEST, disk=DISK, snapshot="b")
    sizes = source.perform([v.EstimateSend(stream=change), v.EstimateSend(stream=whole)])
    assert sizes[0].size < sizes[1].size
    transfer(source, target, disk=DISK, snapshot="b", base="a", base_kind="bookmark")
    assert target.read_disk(GUEST, DISK) == "two"


def test_an_interrupted_stream_goes_on_or_is_abandoned(source: SimHost) -> None:
    target = SimHost()
    transfer(source, target)
    with pytest.raises(HostError, match="ended early"):
        transfer(source, target, disk=DISK, cut=100_000)
    # The disk is not there yet, its part is known by the token alone.
    with pytest.raises(HostError, match="interrupted"):
        target.perform([v.PromoteGuest(guest=GUEST)])
    token = {part.disk: part.token for part in replica(target).parts}[DISK]
    with pytest.raises(HostError, match="interrupted stream goes on"):
        transfer(source, target, disk=DISK)
    transfer(source, target, disk=DISK, token=token)
    assert target.read_disk(GUEST, DISK) == "one"
    assert {part.token for part in replica(target).parts} == {""}


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"snapshot": "none"}, "missing"), ({"base": "none"}, "missing"), ({"token": "1-0-0-abcd"}, "rejected")],
)
def test_what_cannot_be_sent(source: SimHost, fields: dict[str, Any], code: str) -> None:
    stream = v.SnapshotStream(**{"guest": GUEST, "snapshot": "a", "disk": DISK, **fields})
    with pytest.raises(HostError) as caught:
        source.perform([v.EstimateSend(stream=stream)])
    assert caught.value.code == code


def test_a_disk_needs_its_folder(source: SimHost) -> None:
    with pytest.raises(HostError, match="receive its folder first"):
        transfer(source, SimHost(), disk=DISK)
