"""Check a published image in a folder: the signature, then every byte."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from . import folder as layout
from . import signature, zstd
from .manifest import LARGEST_MANIFEST, Manifest, ManifestError, check_name, check_version, parse

Progress = Callable[[int, int], None]


class VerifyError(Exception):
    """The image's file is not what its manifest says. The text names the file and the chunk."""


def check_manifest(
    data: bytes, signed: bytes, *, name: str, version: str, allowed_signers: Path
) -> tuple[Manifest, str]:
    """The manifest in these bytes and the principal that signed it, if it is the one that was asked for.

    The signature comes first: nothing that an allowed signer did not sign is parsed. Raises SignatureError, and
    ManifestError also when a validly signed manifest is of another name or version: a mirror that answers with an
    older image must not win.
    """
    if len(data) > LARGEST_MANIFEST:
        raise ManifestError(f"manifest: {len(data)} bytes, the most is {LARGEST_MANIFEST}")
    principal = signature.verify(data, signed, allowed_signers)
    manifest = parse(data)
    if (manifest.name, manifest.version) != (name, version):
        raise ManifestError(
            f"manifest: validly signed, but of {manifest.name} {manifest.version} and not of {name} {version} as asked"
        )
    return manifest, principal


def verify(
    folder: Path, name: str, version: str, *, allowed_signers: Path, progress: Progress | None = None
) -> tuple[Manifest, str]:
    """Check NAME/VERSION in a folder of images completely; returns the manifest and who signed it.

    progress: (done, total) bytes of the image. Raises SignatureError, ManifestError, VerifyError, ZstdError.
    """
    place = folder / check_name(name) / check_version(version)
    if not (place / layout.MANIFEST).is_file():
        raise VerifyError(f"{name} {version} is not published in {folder}")
    manifest, principal = check_manifest(
        _read(place / layout.MANIFEST, LARGEST_MANIFEST),
        _read(place / layout.SIGNATURE, signature.LARGEST_SIGNATURE),
        name=name,
        version=version,
        allowed_signers=allowed_signers,
    )
    _check_file(place / manifest.file_name, manifest, progress)
    return manifest, principal


def _read(path: Path, limit: int) -> bytes:
    """At most one byte more than the limit, so that the caller sees that it is exceeded."""
    try:
        with open(path, "rb") as stream:
            return stream.read(limit + 1)
    except FileNotFoundError:
        raise VerifyError(f"{path}: there is no such file") from None


def _check_file(path: Path, manifest: Manifest, progress: Progress | None) -> None:
    whole, done = hashlib.sha256(), 0
    if not path.is_file():
        raise VerifyError(f"{path}: there is no such file")
    if path.stat().st_size != manifest.stored_size:
        raise VerifyError(f"{path} has {path.stat().st_size} bytes, its manifest says {manifest.stored_size}")
    with open(path, "rb") as stream:
        for index in range(len(manifest.chunks)):
            data = unpack(manifest, index, stream.read(stored_length(manifest, index)), str(path))
            whole.update(data)
            done += len(data)
            if progress:
                progress(done, manifest.size)
    if whole.hexdigest() != manifest.sha256:
        raise VerifyError(f"{path}: every chunk is right, the whole is not: the manifest contradicts itself")


def stored_length(manifest: Manifest, index: int) -> int:
    """Bytes of a chunk on the mirror: its frame's, or its own."""
    return manifest.zstd.sizes[index] if manifest.zstd else manifest.chunk_length(index)


def unpack(manifest: Manifest, index: int, data: bytes | memoryview, origin: str) -> bytes | memoryview:
    """A chunk as it is in the image, checked, from its bytes on the mirror; raises VerifyError naming the chunk.

    A frame is checked before it is decompressed: zstd never sees what was not signed.
    """
    frames = manifest.zstd
    if frames is not None:
        _check_digest(data, frames.chunks[index], manifest, index, origin)
        data = zstd.decompress(data, manifest.chunk_length(index))
    _check_digest(data, manifest.chunks[index], manifest, index, origin)
    return data


def _check_digest(data: bytes | memoryview, wanted: str, manifest: Manifest, index: int, origin: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise VerifyError(
            f"chunk {index} of {len(manifest.chunks)} from {origin} is not what was signed: "
            f"SHA-256 {found[:16]}... instead of {wanted[:16]}..."
        )
