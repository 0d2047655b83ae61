from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from image_doubles import FolderHost, Misdeed, Published, ScriptedServer, make_key, signer_line
from skep.images.manifest import CHUNK, Manifest
from skep.images.publish import publish


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    key, stranger = make_key(folder, "key"), make_key(folder, "stranger")
    signers = folder / "allowed_signers"
    signers.write_text(signer_line("images@example.org", key))
    generator = random.Random(9)
    source = folder / "source.raw"
    source.write_bytes(generator.randbytes(2 * CHUNK) + bytes(CHUNK) + generator.randbytes(CHUNK + 241 * 512))
    other = folder / "other.raw"
    other.write_bytes(generator.randbytes(2 * CHUNK))
    web = folder / "web"

    def put(path: Path, version: str, **more: object) -> Manifest:
        return publish(path, web, key=key, name="small", version=version, os_name="linux", **more)  # type: ignore[arg-type]

    manifest = put(source, "1.0")
    put(source, "1.0+zst", compress=True)
    put(other, "2.0")
    put(source, "1.0-stream", form="zfs")
    return Published(folder=web, source=source, key=key, signers=signers, stranger=stranger, manifest=manifest)


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedServer]]:
    """Start servers; they are stopped after the test."""
    servers: list[ScriptedServer] = []

    def start(folder: Path, misdeed: Misdeed | None = None) -> ScriptedServer:
        servers.append(ScriptedServer(folder, misdeed))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def host(tmp_path: Path) -> FolderHost:
    return FolderHost(tmp_path / "host")
