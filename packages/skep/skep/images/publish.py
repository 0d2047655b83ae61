"""Publish an image: copy it into a folder, digest it, sign the manifest, list it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from . import folder as layout
from . import inspect, signature, zstd
from .manifest import CHUNK, LARGEST_SIZE, LEAST_SIZE, Frames, Manifest, check_name, check_version, encode, parse

Progress = Callable[[int, int], None]
_BATCH = 8
"""Chunks held at a time while they are compressed."""


class PublishError(Exception):
    """The image was not published; the folder is as it was."""


@dataclass
class _Digests:
    whole: hashlib._Hash = field(default_factory=hashlib.sha256)
    chunks: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def add(self, data: bytes) -> None:
        self.whole.update(data)
        self.chunks.append(hashlib.sha256(data).hexdigest())
        self.sizes.append(len(data))


def publish(
    source: Path,
    folder: Path,
    *,
    key: Path,
    name: str,
    version: str,
    os_name: str,
    form: str | None = None,
    compress: bool = False,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Publish a file as NAME/VERSION in a folder of images; returns its manifest.

    form: raw, qcow2, zfs or iso; None: by looking at the file. now: what the manifest says about its making.
    progress: called with (done, total) bytes of the source. A version never changes: publishing the same content
    again keeps manifest and file and signs again (a new key, perhaps); other content is a PublishError.
    Also raises ManifestError, InspectError, SignatureError, ZstdError and OSError.
    """
    check_name(name)
    check_version(version)
    form = form or inspect.detect(source)
    size = _size(source)
    virtual = inspect.virtual_size(source, form)
    place = folder / name / version
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder), _scratch(folder / ".image.new") as scratch:
        plain, frames = _copy(source, scratch, size, compress, progress)
        made = Manifest(
            name=name,
            version=version,
            os=os_name,
            format=form,
            size=size,
            virtual_size=virtual,
            sha256=plain.whole.hexdigest(),
            chunks=tuple(plain.chunks),
            created=(now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            zstd=frames,
        )
        manifest = _already(place, made) or made
        data = encode(manifest)
        signed = signature.sign(data, key)
        place.mkdir(parents=True, exist_ok=True)
        if manifest is made:
            scratch.replace(place / manifest.file_name)
        # The manifest is what makes an image appear, so it is written last.
        layout.write_file(place / layout.SIGNATURE, signed)
        layout.write_file(place / layout.MANIFEST, data)
        layout.write_file(folder / layout.INDEX, layout.encode_index(layout.read_folder(folder)))
        for path in (place.parent, folder):
            layout.sync_folder(path)
    return manifest


def _size(source: Path) -> int:
    if not source.is_file():
        raise PublishError(f"{source}: there is no such file")
    size = source.stat().st_size
    if not LEAST_SIZE <= size <= LARGEST_SIZE:
        raise PublishError(f"{source} has {size} bytes; an image has between {LEAST_SIZE} and {LARGEST_SIZE}")
    return size


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One publisher at a time, or two would write an index without each other's image."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _copy(
    source: Path, target: Path, size: int, compress: bool, progress: Progress | None
) -> tuple[_Digests, Frames | None]:
    plain, packed, done = _Digests(), _Digests(), 0
    with open(source, "rb") as reader, open(target, "wb") as writer, ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in _batches(reader):
            for data in batch:
                plain.add(data)
                done += len(data)
            for frame in pool.map(zstd.compress, batch) if compress else batch:
                writer.write(frame)
                if compress:
                    packed.add(frame)
            if progress:
                progress(done, size)
        writer.flush()
        os.fsync(writer.fileno())
    target.chmod(0o644)
    if done != size:
        raise PublishError(f"{source} changed while it was read ({size} bytes at first, then {done}); publish it again")
    if not compress:
        return plain, None
    sizes, chunks = tuple(packed.sizes), tuple(packed.chunks)
    return plain, Frames(size=sum(sizes), sha256=packed.whole.hexdigest(), sizes=sizes, chunks=chunks)


def _batches(reader: BinaryIO) -> Iterator[list[bytes]]:
    while True:
        batch = [data for _ in range(_BATCH) if (data := reader.read(CHUNK))]
        if not batch:
            return
        yield batch


def _already(place: Path, made: Manifest) -> Manifest | None:
    """The manifest that stands there, when it says the same; raises PublishError when it says something else."""
    path = place / layout.MANIFEST
    if not path.exists():
        return None
    there = parse(path.read_bytes())
    # zstd may compress differently from release to release: the content is what counts.
    if replace(there, created=made.created, zstd=None) != replace(made, zstd=None):
        raise PublishError(
            f"{made.name} {made.version} is already published with other content, and a version never changes; "
            f"publish under a new version"
        )
    return there if (place / there.file_name).is_file() else None
