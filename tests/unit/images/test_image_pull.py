"""Pulling from mirrors that behave: place, order, resume, cancel, streams."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from image_doubles import FAST, FolderHost, Published, ScriptedHandler, ScriptedServer
from skep.images.manifest import CHUNK
from skep_helper.vocabulary import AbandonImage, PublishImage
from skepd.host import HostError
from skepd.images.pull import PullCancelled, PullError, pull

Serve = Callable[..., ScriptedServer]
SHOWN = "small:1.0"


def shown(host: FolderHost, name: str = SHOWN) -> bytes:
    return (host.folder / "visible" / name).read_bytes()


def test_an_image_comes_whole_from_one_mirror(host: FolderHost, published: Published, serve: Serve) -> None:
    seen: list[tuple[int, int]] = []
    lines: list[str] = []
    server = serve(published.folder)
    result = pull(
        host,
        "small",
        "1.0",
        [server.url],
        published.signers,
        progress=lambda done, total: seen.append((done, total)),
        log=lines.append,
        options=FAST,
    )
    assert shown(host) == published.content
    assert (result.signer, result.digest) == ("images@example.org", published.manifest.sha256)
    assert seen == sorted(seen)
    assert seen[-1] == (len(published.content), len(published.content))
    assert "signed by images@example.org" in lines[0]
    assert all(agent.startswith("skep/") for _, _, agent in server.asked)
    publish = host.requests[-1]
    assert isinstance(publish, PublishImage)
    assert publish.digest == published.manifest.sha256


def test_chunks_of_zeros_are_never_fetched(host: FolderHost, published: Published, serve: Serve) -> None:
    server = serve(published.folder)
    pull(host, "small", "1.0", [server.url], published.signers, options=FAST)
    assert f"bytes={2 * CHUNK}-{3 * CHUNK - 1}" not in server.ranges
    assert len(server.ranges) == 4


def test_a_compressed_image_arrives_uncompressed(host: FolderHost, published: Published, serve: Serve) -> None:
    server = serve(published.folder)
    pull(host, "small", "1.0+zst", [server.url], published.signers, options=FAST)
    assert shown(host, "small:1.0+zst") == published.content
    assert server.asked[0][0].startswith("/small/1.0%2Bzst/")


def test_a_missing_zstd_is_said_before_anything_is_opened(
    host: FolderHost, published: Published, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skep.images.zstd.shutil.which", lambda name: None)
    with pytest.raises(PullError, match="zstd is not installed"):
        pull(host, "small", "1.0+zst", [serve(published.folder).url], published.signers, options=FAST)
    assert (host.visible, host.parts) == ([], [])


def test_all_mirrors_take_part(host: FolderHost, published: Published, serve: Serve) -> None:
    together = threading.Barrier(2, timeout=20)
    met: set[int] = set()

    def meet(handler: ScriptedHandler) -> bool:
        # The first range at each mirror is answered only when the other mirror has one too.
        if handler.is_range and handler.server.server_port not in met:
            met.add(handler.server.server_port)
            together.wait()
        return False

    mirrors = [serve(published.folder, meet), serve(published.folder, meet)]
    patient = replace(FAST, stall_seconds=30, hedge_seconds=30)
    pull(host, "small", "1.0", [mirror.url for mirror in mirrors], published.signers, options=patient)
    assert shown(host) == published.content
    assert all(mirror.ranges for mirror in mirrors)


def test_a_slow_mirror_does_not_hold_the_end(host: FolderHost, published: Published, serve: Serve) -> None:
    def slow(handler: ScriptedHandler) -> bool:
        if handler.is_range:
            handler.sleep()
        return False

    patient = replace(FAST, stall_seconds=60, minimum_rate=1)
    hanging, good = serve(published.folder, slow), serve(published.folder)
    pull(host, "small", "1.0", [hanging.url, good.url], published.signers, options=patient)
    assert shown(host) == published.content
    assert len(good.ranges) == 4
    assert hanging.ranges


def test_an_image_that_is_there_is_left_alone(host: FolderHost, published: Published, serve: Serve) -> None:
    server = serve(published.folder)
    pull(host, "small", "1.0", [server.url], published.signers, options=FAST)
    asked = len(server.asked)
    again = pull(host, "small", "1.0", [server.url], published.signers, options=FAST)
    assert again.present
    assert len(server.asked) == asked


def test_a_part_is_verified_again_and_completed(host: FolderHost, published: Published, serve: Serve) -> None:
    """What a killed skepd leaves: one chunk right, one half written, one wrong, the rest never written."""
    part = host.folder / "parts" / SHOWN
    with open(part, "wb") as stream:
        stream.truncate(len(published.content))
        stream.write(published.content[: CHUNK + CHUNK // 2])
        stream.seek(3 * CHUNK)
        stream.write(b"\xff" * CHUNK)
    server = serve(published.folder)
    result = pull(host, "small", "1.0", [server.url], published.signers, options=FAST)
    assert shown(host) == published.content
    assert sorted(server.ranges) == sorted(
        f"bytes={first}-{min(first + CHUNK, len(published.content)) - 1}" for first in (CHUNK, 3 * CHUNK, 4 * CHUNK)
    )
    assert result.resumed == 2 * CHUNK


def test_a_part_of_another_size_is_no_obstacle(host: FolderHost, published: Published, serve: Serve) -> None:
    (host.folder / "parts" / SHOWN).write_bytes(b"\xff" * (len(published.content) + 77))
    pull(host, "small", "1.0", [serve(published.folder).url], published.signers, options=FAST)
    assert shown(host) == published.content


def test_a_failed_pull_keeps_what_is_right_and_the_next_goes_on(
    host: FolderHost, published: Published, serve: Serve
) -> None:
    def misses_the_last(handler: ScriptedHandler) -> bool:
        return handler.is_range and handler.wanted[0] == 4 * CHUNK and handler.answer(404, b"")

    server = serve(published.folder, misses_the_last)
    one = replace(FAST, connections=1)
    with pytest.raises(PullError, match=r"chunk 4 of 5 .*404"):
        pull(host, "small", "1.0", [server.url], published.signers, options=one)
    assert (host.visible, host.parts) == ([], [SHOWN])
    good = serve(published.folder)
    pull(host, "small", "1.0", [good.url], published.signers, options=FAST)
    assert shown(host) == published.content
    assert len(good.ranges) == 1


@pytest.mark.parametrize("name", ["small:1.0", "small:1.0-stream"])
def test_cancel_ends_a_pull_that_hangs(host: FolderHost, published: Published, serve: Serve, name: str) -> None:
    hangs = threading.Event()

    def hang(handler: ScriptedHandler) -> bool:
        if handler.is_range and handler.wanted[0] >= CHUNK:
            hangs.set()
            handler.sleep()
        return False

    server = serve(published.folder, hang)
    patient = replace(FAST, stall_seconds=100)
    version = name.split(":")[1]
    with pytest.raises(PullCancelled):
        pull(host, "small", version, [server.url], published.signers, cancelled=hangs.is_set, options=patient)
    assert host.visible == []
    # A file can be completed later, a stream cannot.
    assert host.parts == ([name] if version == "1.0" else [])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("image-f")]


def test_cancel_while_the_manifest_hangs(host: FolderHost, published: Published, serve: Serve) -> None:
    hangs = threading.Event()

    def hang(handler: ScriptedHandler) -> bool:
        hangs.set()
        handler.sleep()
        return False

    server = serve(published.folder, hang)
    with pytest.raises(PullCancelled):
        pull(host, "small", "1.0", [server.url], published.signers, cancelled=hangs.is_set, options=FAST)
    assert host.parts == []


def test_a_stream_gets_verified_chunks_in_order(host: FolderHost, published: Published, serve: Serve) -> None:
    """The first chunk fails at first, so that later ones must wait for it."""
    failed: list[int] = []

    def late(handler: ScriptedHandler) -> bool:
        if handler.is_range and handler.wanted[0] == 0 and not failed:
            failed.append(1)
            return handler.drop()
        return False

    pull(host, "small", "1.0-stream", [serve(published.folder, late).url], published.signers, options=FAST)
    assert bytes(host.streams["small", "1.0-stream"]) == published.content
    assert host.visible == ["small:1.0-stream"]
    assert failed


def test_a_stream_holds_a_few_chunks_at_most(host: FolderHost, published: Published, serve: Serve) -> None:
    """While the first chunk is late, no more than twice as many as there are connections are fetched ahead."""
    ahead: list[str] = []

    def late(handler: ScriptedHandler) -> bool:
        if handler.is_range and handler.wanted[0] == 0:
            end = time.monotonic() + 20
            while len(handler.server.ranges) < 4 and time.monotonic() < end:
                time.sleep(0.01)
            handler.sleep(0.5)
            ahead.extend(handler.server.ranges)
        return False

    two = replace(FAST, connections=2, stall_seconds=60)
    pull(host, "small", "1.0-stream", [serve(published.folder, late).url], published.signers, options=two)
    assert len(ahead) == 4
    assert not any(wanted.startswith(f"bytes={4 * CHUNK}-") for wanted in ahead)


def test_connections_are_kept(host: FolderHost, published: Published, serve: Serve) -> None:
    server = serve(published.folder)
    pull(host, "small", "1.0", [server.url], published.signers, options=replace(FAST, connections=1))
    assert len(server.ranges) == 4
    # One for manifest and signature, one for all ranges.
    assert server.connections == 2


def test_a_bad_stream_stops_before_the_bad_chunk(host: FolderHost, published: Published, serve: Serve) -> None:
    def flip(handler: ScriptedHandler) -> bool:
        if handler.is_range and handler.wanted[0] == 3 * CHUNK:
            return handler.answer(206, handler.content()[:-1] + b"?")
        return False

    with pytest.raises(PullError, match="chunk 3 of 5"):
        pull(host, "small", "1.0-stream", [serve(published.folder, flip).url], published.signers, options=FAST)
    received = bytes(host.streams["small", "1.0-stream"])
    assert published.content[: 3 * CHUNK].startswith(received)
    assert (host.visible, host.parts) == ([], [])


def test_a_receiver_that_ends_early_is_named(host: FolderHost, published: Published, serve: Serve) -> None:
    def leave(descriptor: int, into: bytearray) -> None:
        into += os.read(descriptor, 1000)
        raise HostError("full", "no space left in the pool")

    host.stream_reader = leave
    with pytest.raises(HostError, match="no space left"):
        pull(host, "small", "1.0-stream", [serve(published.folder).url], published.signers, options=FAST)
    assert host.visible == []


def test_a_receiver_that_hangs_can_be_cancelled(
    host: FolderHost, published: Published, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, over = threading.Event(), threading.Event()

    def hang(descriptor: int, into: bytearray) -> None:
        reading.set()
        over.wait(60)

    host.stream_reader = hang
    monkeypatch.setattr("skepd.images.receiving._GRACE", 0.1)
    try:
        with pytest.raises(PullCancelled):
            pull(
                host,
                "small",
                "1.0-stream",
                [serve(published.folder).url],
                published.signers,
                cancelled=reading.is_set,
                options=FAST,
            )
    finally:
        over.set()
    assert host.visible == []


@pytest.mark.parametrize(("code", "kept"), [("rejected", []), ("failed", []), ("lost", [SHOWN]), ("full", [SHOWN])])
def test_what_the_host_will_never_publish_is_not_kept(
    host: FolderHost, published: Published, serve: Serve, code: str, kept: list[str]
) -> None:
    host.refuse_publish = HostError(code, "has a backing file")
    with pytest.raises(HostError, match="backing file"):
        pull(host, "small", "1.0", [serve(published.folder).url], published.signers, options=FAST)
    assert (host.visible, host.parts) == ([], kept)


def test_a_host_that_is_busy_for_a_moment_is_asked_again(
    host: FolderHost, published: Published, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skepd.images.pull._BUSY_SECONDS", 0.01)
    host.busy = 3
    pull(host, "small", "1.0", [serve(published.folder).url], published.signers, options=FAST)
    assert (host.visible, host.busy) == ([SHOWN], 0)


def test_a_host_that_stays_busy_keeps_what_was_fetched(
    host: FolderHost, published: Published, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skepd.images.pull._BUSY_SECONDS", 0.01)
    host.busy = 1000
    with pytest.raises(HostError, match="still open"):
        pull(host, "small", "1.0", [serve(published.folder).url], published.signers, options=FAST)
    assert (host.visible, host.parts) == ([], [SHOWN])


def test_a_part_that_conflicts_is_abandoned_once(host: FolderHost, published: Published, serve: Serve) -> None:
    host.refuse_open = HostError("conflict", "another size")
    pull(host, "small", "1.0", [serve(published.folder).url], published.signers, options=FAST)
    assert shown(host) == published.content


def test_a_part_that_another_pull_writes_is_left_alone(host: FolderHost, published: Published, serve: Serve) -> None:
    host.refuse_open = HostError("busy", "is being written")
    with pytest.raises(HostError, match="being written"):
        pull(host, "small", "1.0", [serve(published.folder).url], published.signers, options=FAST)
    assert not any(isinstance(request, AbandonImage) for request in host.requests)


def test_a_full_disk_is_told_and_freed(
    host: FolderHost, published: Published, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes, place: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("skepd.images.sink.os.pwrite", full)
    with pytest.raises(PullError, match=r"could not be stored.*No space left"):
        pull(host, "small", "1.0", [serve(published.folder).url], published.signers, options=FAST)
    assert (host.visible, host.parts) == ([], [])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("ftp://mirror.example.org/", "is not a URL such as"),
        ("/srv/images", "is not a URL such as"),
        ("http://", "is not a URL such as"),
        ("http://mirror:99999/", "Port out of range"),
        ("http://user:secret@mirror/", "a user, query or fragment"),
        ("http://mirror/?a=b", "a user, query or fragment"),
        ("http://mirror/a b", "is not a URL such as"),
    ],
)
def test_sources_are_checked(host: FolderHost, published: Published, source: str, said: str) -> None:
    with pytest.raises(PullError, match=said) as caught:
        pull(host, "small", "1.0", [source], published.signers)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("name", "version"), [("../small", "1.0"), ("small", "../1.0"), ("small", ""), ("", "1.0")])
def test_names_are_checked_before_anything_is_asked(
    host: FolderHost, published: Published, serve: Serve, name: str, version: str
) -> None:
    server = serve(published.folder)
    with pytest.raises(PullError, match="is not an image"):
        pull(host, name, version, [server.url], published.signers)
    assert server.asked == []
    assert host.requests == []


def test_no_source_is_an_error_that_says_what_to_do(host: FolderHost, published: Published) -> None:
    with pytest.raises(PullError, match="add the URL"):
        pull(host, "small", "1.0", [], published.signers)
