"""A pull into the real storage of a host: what a mirror publishes becomes an image that disks are made from."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from skep.images.manifest import CHUNK, encode
from skep.images.publish import publish
from skep.images.signature import sign
from skep_helper.handlers import Context, Failure
from skep_helper.linux import storage
from skep_helper.policy import Policy
from skep_helper.vocabulary import OpenImageWriter, ReadStorage, Rejected
from skepd.host import HostError
from skepd.images.pull import PullError, pull
from skepd.images.serve import ImageServer

pytestmark = pytest.mark.real


class HandlerHost:
    """skepd.host.Host over the helper's own handlers, in this process."""

    def __init__(self, base: Path) -> None:
        self.policy = Policy(pool=base / "pool", run=base / "run", log=base / "log", user="daemon", group="daemon")
        storage.prepare(self.policy)

    def perform(self, requests: Sequence[Any], progress: Any = None) -> tuple[Any, ...]:
        return tuple(self._do(request)[0] for request in requests)

    def open(self, request: Any) -> tuple[Any, int]:
        answer, context = self._do(request)
        (descriptor,) = context.answer_descriptors
        return answer, descriptor

    def _do(self, request: Any) -> tuple[Any, Context]:
        context = Context(policy=self.policy, peer_uid=0)
        try:
            return storage.HANDLERS[type(request)](context, request), context
        except Failure as error:
            raise HostError(error.code, error.message) from error
        except Rejected as error:
            raise HostError("rejected", str(error)) from error

    def images(self) -> dict[str, Any]:
        (reading,) = self.perform((ReadStorage(),))
        return {f"{image.image}:{image.version}": image for image in reading.images}


@pytest.fixture
def host(tmp_path: Path) -> HandlerHost:
    return HandlerHost(tmp_path)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    (tmp_path / "signers").write_text(f"images {path.with_suffix('.pub').read_text()}")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A qcow2 of 1 GiB with 10 MB in it."""
    raw, path = tmp_path / "source.raw", tmp_path / "source.qcow2"
    raw.write_bytes(os.urandom(10_000_000))
    os.truncate(raw, 1 << 30)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(path)], check=True)
    return path


@pytest.fixture
def url(tmp_path: Path, key: Path, source: Path) -> Iterator[str]:
    web = tmp_path / "web"
    for version, compress in [("1", False), ("2", True)]:
        publish(source, web, key=key, name="box", version=version, os_name="linux", compress=compress)
    server = ImageServer(web)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server.url
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


@pytest.mark.parametrize("version", ["1", "2"])
def test_an_image_is_pulled_and_read_only(
    host: HandlerHost, url: str, tmp_path: Path, source: Path, version: str
) -> None:
    pulled = pull(host, "box", version, [url], tmp_path / "signers")  # type: ignore[arg-type]
    image = host.images()[f"box:{version}"]
    assert (image.format, image.size, image.digest) == ("qcow2", 1 << 30, pulled.digest)
    (path,) = [path for path in host.policy.pool.rglob("*") if path.is_file() and path.stat().st_size > 1 << 20]
    assert path.read_bytes() == source.read_bytes()
    assert path.stat().st_mode & 0o222 == 0
    assert pull(host, "box", version, [url], tmp_path / "signers").present  # type: ignore[arg-type]


def test_what_was_begun_is_completed(host: HandlerHost, url: str, tmp_path: Path, source: Path) -> None:
    size = source.stat().st_size
    request = OpenImageWriter(image="box", version="1", format="qcow2", size=size)
    descriptor = host.open(request)[1]
    os.pwrite(descriptor, source.read_bytes()[: 6 << 20], 0)
    os.close(descriptor)
    pulled = pull(host, "box", "1", [url], tmp_path / "signers")  # type: ignore[arg-type]
    assert pulled.resumed >= 4 << 20
    assert "box:1" in host.images()


def test_a_part_of_another_size_makes_room(host: HandlerHost, url: str, tmp_path: Path) -> None:
    os.close(host.open(OpenImageWriter(image="box", version="1", format="raw", size=5 << 20))[1])
    pull(host, "box", "1", [url], tmp_path / "signers")  # type: ignore[arg-type]
    assert "box:1" in host.images()


def test_a_signed_image_that_names_another_file_is_refused_and_gone(
    host: HandlerHost, url: str, tmp_path: Path, key: Path, source: Path
) -> None:
    """The publisher refuses such a file; a signer who does it all the same meets the host's own inspection."""
    data = bytearray(source.read_bytes())
    web = tmp_path / "web"
    manifest = publish(source, web, key=key, name="box", version="3", os_name="linux")
    data[8:16] = (1024).to_bytes(8, "big")
    data[16:20] = (11).to_bytes(4, "big")
    data[1024:1035] = b"/etc/shadow"
    chunks = tuple(hashlib.sha256(data[place : place + CHUNK]).hexdigest() for place in range(0, len(data), CHUNK))
    bad = encode(replace(manifest, sha256=hashlib.sha256(data).hexdigest(), chunks=chunks))
    place = web / "box" / "3"
    (place / manifest.file_name).write_bytes(data)
    (place / "manifest.json").write_bytes(bad)
    (place / "manifest.json.sig").write_bytes(sign(bad, key))
    with pytest.raises(HostError, match="backing file"):
        pull(host, "box", "3", [url], tmp_path / "signers")  # type: ignore[arg-type]
    assert host.images() == {}
    assert not [path for path in host.policy.pool.rglob("*") if path.is_file() and path.stat().st_size > 1 << 20]


def test_a_stranger_leaves_nothing(host: HandlerHost, url: str, tmp_path: Path) -> None:
    (tmp_path / "signers").write_text("")
    with pytest.raises(PullError, match="signing key is not in"):
        pull(host, "box", "1", [url], tmp_path / "signers")  # type: ignore[arg-type]
    assert host.images() == {}
