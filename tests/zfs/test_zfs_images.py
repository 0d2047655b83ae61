"""An image of format zfs: published, pulled over HTTP, interrupted, verified, and only then there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zfs_lab
from skep.images.publish import publish
from skep_helper import vocabulary as v
from skepd.host import HostError
from skepd.images.pull import PullCancelled, pull
from skepd.images.serve import ImageServer
from zfs_host import DISK, GUEST, MIB, ZfsHost, hosts
from zfs_lab import zfs

NAME, VERSION = "debian", "13.1"


@pytest.fixture
def host(module_pool: str) -> Iterator[ZfsHost]:
    with hosts(module_pool, "one") as (found,):
        yield found


@pytest.fixture(scope="module")
def web(module_pool: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, str]]:
    """(URL of the published image, allowed signers, SHA-256 of the volume's content)."""
    folder = tmp_path_factory.mktemp("web")
    master = f"{module_pool}/master"
    zfs("create", "-s", "-V", "32M", master)
    content = os.urandom(18 * MIB).ljust(32 * MIB, b"\0")
    with zfs_lab.await_node(master).open("r+b") as device:
        device.write(content[: 18 * MIB])
    zfs("snapshot", f"{master}@made")
    stream = folder / "master.zfs"
    with stream.open("wb") as target:
        subprocess.run(["zfs", "send", "-Lec", f"{master}@made"], stdout=target, check=True)
    zfs("destroy", "-r", master)
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    kind, text = key.with_suffix(".pub").read_text().split()[:2]
    signers = folder / "signers"
    signers.write_text(f'anybody namespaces="skep-image" {kind} {text}\n')
    publish(stream, folder / "web", key=key, name=NAME, version=VERSION, os_name="linux")
    server = ImageServer(folder / "web")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.url, signers, hashlib.sha256(content).hexdigest()
    server.shutdown()
    server.server_close()
    thread.join()


def image(host: ZfsHost) -> v.ImageReading | None:
    (reading,) = host.do(v.ReadStorage())
    return next((found for found in reading.images if (found.image, found.version) == (NAME, VERSION)), None)


def test_an_image_is_pulled_and_disks_are_made_of_it(host: ZfsHost, web: tuple[str, Path, str]) -> None:
    url, signers, digest = web
    pulled = pull(host.client, NAME, VERSION, [url], signers)
    found = image(host)
    assert found is not None
    assert (found.format, found.size, found.digest) == ("zfs", 32 * MIB, pulled.digest)
    host.do(
        v.CreateGuestFolder(guest=GUEST),
        v.CreateDisk(guest=GUEST, disk=DISK, size=None, format="zvol", image=NAME, version=VERSION),
        v.CreateDisk(guest=GUEST, disk="own", size=None, format="zvol", image=NAME, version=VERSION, edition="full"),
    )
    assert {host.digest(), host.digest("own")} == {digest}
    assert not any(name.startswith("/incoming/") for name in host.names())


def test_an_interrupted_pull_leaves_nothing(host: ZfsHost, web: tuple[str, Path, str]) -> None:
    """Cancelled after some chunks: what OpenZFS had is gone, and the next pull brings all of it."""
    url, signers, _ = web
    reached = [0]
    with pytest.raises(PullCancelled):
        pull(
            host.client, NAME, VERSION, [url], signers,
            progress=lambda done, total: reached.append(done), cancelled=lambda: reached[-1] > 4 * MIB,
        )  # fmt: skip
    assert image(host) is None
    assert not any(name.startswith("/incoming/") for name in host.names())
    pull(host.client, NAME, VERSION, [url], signers)
    assert image(host) is not None


def test_a_receiver_that_is_killed_leaves_nothing(host: ZfsHost) -> None:
    content = _stream(host)
    reader, writer = os.pipe()
    errors: list[HostError] = []

    def receive() -> None:
        digest = hashlib.sha256(content).hexdigest()
        try:
            host.client.stream(v.ReceiveImage(image="cut", version="1", digest=digest, size=len(content)), reader)
        except HostError as error:
            errors.append(error)
        finally:
            os.close(reader)

    thread = threading.Thread(target=receive)
    thread.start()
    with open(writer, "wb", buffering=0) as end:
        end.write(content[:MIB])
        host.kill()
        thread.join()
    host.start()
    assert [error.code for error in errors] == ["lost"]
    assert feed(host, content) is None
    assert {name for name in host.names() if "cut" in name or "bad" in name} == {"/images/bad:1", "/images/bad:1@skep"}


def test_what_is_not_what_was_verified_never_appears(host: ZfsHost) -> None:
    for content, words in (
        (os.urandom(MIB), "not a ZFS stream"),
        (_stream(host)[:MIB], "ended early"),
        (_stream(host)[:MIB].ljust(2 * MIB, b"\0"), "was not received"),
    ):
        error = feed(host, content)
        assert error is not None
        assert words in error.message
        assert host.do(v.ReadStorage())[0].images == ()
    assert not any(name.startswith("/incoming/") for name in host.names())


def test_a_whole_stream_of_another_digest_never_appears(host: ZfsHost) -> None:
    content = _stream(host)
    error = feed(host, content, digest="0" * 64)
    assert error is not None
    assert (error.code, "not what was verified" in error.message) == ("conflict", True)
    assert not any("bad" in name for name in host.names())
    for _ in range(2):
        assert feed(host, content) is None
    digest = hashlib.sha256(content).hexdigest()
    assert [found.digest for found in host.do(v.ReadStorage())[0].images] == [digest]
    other = feed(host, content, digest="1" * 64)
    assert other is not None
    assert other.code == "exists"


def feed(host: ZfsHost, content: bytes, digest: str = "") -> HostError | None:
    """Send a stream as image bad:1; what it is refused with."""
    digest = digest or hashlib.sha256(content).hexdigest()
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        try:
            host.client.stream(
                v.ReceiveImage(image="bad", version="1", digest=digest, size=len(content)), file.fileno()
            )
        except HostError as error:
            return error
    return None


def _stream(host: ZfsHost) -> bytes:
    """Of a small volume."""
    name = f"{host.dataset.partition('/')[0]}/small"
    zfs("create", "-s", "-V", "4M", name)
    try:
        zfs_lab.await_node(name).write_bytes(os.urandom(2 * MIB))
        zfs("snapshot", f"{name}@made")
        return subprocess.run(["zfs", "send", f"{name}@made"], capture_output=True, check=True).stdout
    finally:
        zfs("destroy", "-r", name)


def test_a_pull_into_a_host_without_space_is_refused_before(host: ZfsHost) -> None:
    with pytest.raises(HostError) as caught:
        host.client.open(v.OpenImageWriter(image="large", version="1", format="raw", size=1 << 44))
    assert caught.value.code == "full"
