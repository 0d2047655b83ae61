"""The manifest of a published image: what is signed, and what every byte is checked against.

It is JSON text in one canonical form (ASCII, sorted keys, one space of indent, a final newline), so that there is
exactly one sequence of bytes for one meaning. ``parse`` refuses everything else and names the place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

EDITION = 1
"""Value of the key skep_image; another edition of the manifest gets another number."""
CHUNK = 4 << 20
LEAST_SIZE = 1 << 20
LARGEST_SIZE = 1 << 40
"""Bytes stored; one TiB is 262,144 chunks, whose manifest still fits in LARGEST_MANIFEST."""
LARGEST_VIRTUAL_SIZE = 256 << 40
LARGEST_MANIFEST = 48 << 20
LARGEST_FRAME = CHUNK + (64 << 10)
"""A zstd frame of data that does not compress is a little larger than the data."""
SECTOR = 512
FORMATS = ("raw", "qcow2", "zfs", "iso")

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_VERSION = re.compile(r"[0-9a-z][0-9a-z.+~-]{0,62}")
_SYSTEM = re.compile(r"[a-z0-9][a-z0-9.-]{0,31}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CREATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


class ManifestError(ValueError):
    """A manifest that cannot be accepted. The text begins with the place, e.g. ``manifest.chunks[3]``."""


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The image compressed: one zstd frame for each chunk, one after the other, together a plain .zst file.

    size and sha256 are those of the .zst file; sizes and chunks are those of each frame.
    """

    size: int
    sha256: str
    sizes: tuple[int, ...]
    chunks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """name and version: what is asked for. size: bytes of the image as it is stored by the host, never compressed.

    virtual_size: bytes of the disk inside, None where it is not known (zfs). chunks: SHA-256 of every 4 MiB; the
    last chunk may be shorter. sha256: of the whole. created: UTC, ``2026-01-31T12:00:00Z``.
    Raises ManifestError when it is built from values that it must not have.
    """

    name: str
    version: str
    os: str
    format: str
    size: int
    sha256: str
    chunks: tuple[str, ...]
    created: str
    virtual_size: int | None = None
    zstd: Frames | None = None

    def __post_init__(self) -> None:
        _check(self)

    @property
    def file_name(self) -> str:
        """The name of the image's file. Made from checked names and never read from a manifest: no path to trick."""
        return f"{self.name}-{self.version}.{self.format}" + (".zst" if self.zstd else "")

    @property
    def stored_size(self) -> int:
        """Bytes of the file on the mirror."""
        return self.zstd.size if self.zstd else self.size

    def chunk_length(self, index: int) -> int:
        """Bytes of a chunk in the image."""
        return min(CHUNK, self.size - index * CHUNK)


def check_name(value: str, place: str = "name") -> str:
    """The value, if it is an image name; raises ManifestError."""
    return _match(_NAME, value, place, "an image name (a-z, 0-9, '-', at most 63)")


def check_version(value: str, place: str = "version") -> str:
    """The value, if it is an image version; raises ManifestError."""
    return _match(_VERSION, value, place, "an image version (a-z, 0-9, '.', '+', '~', '-', at most 63)")


def _match(pattern: re.Pattern[str], value: Any, place: str, meaning: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ManifestError(f"{place}: {value!r:.80} is not {meaning}")
    return value


def _between(low: int, value: Any, high: int, place: str) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ManifestError(f"{place}: {value!r:.80} is not a whole number between {low} and {high}")


def _digest(value: Any, place: str) -> None:
    _match(_DIGEST, value, place, "a SHA-256 in lower-case hexadecimal")


def _check(value: Manifest) -> None:
    check_name(value.name, "manifest.name")
    check_version(value.version, "manifest.version")
    _match(_SYSTEM, value.os, "manifest.os", "an operating system (e.g. linux, freebsd, openbsd, windows, other)")
    if value.format not in FORMATS:
        raise ManifestError(f"manifest.format: {value.format!r:.80} is not one of {', '.join(FORMATS)}")
    _between(LEAST_SIZE, value.size, LARGEST_SIZE, "manifest.size")
    if value.format == "raw" and value.size % SECTOR:
        raise ManifestError(f"manifest.size: {value.size} is no disk, it is not a multiple of {SECTOR}")
    if value.virtual_size is not None:
        _between(1, value.virtual_size, LARGEST_VIRTUAL_SIZE, "manifest.virtual_size")
    if value.virtual_size is not None and value.format in ("raw", "iso") and value.virtual_size != value.size:
        raise ManifestError(f"manifest.virtual_size: {value.virtual_size} is not the size of the {value.format} image")
    _digest(value.sha256, "manifest.sha256")
    _match(_CREATED, value.created, "manifest.created", "a time in UTC such as 2026-01-31T12:00:00Z")
    count = -(-value.size // CHUNK)
    _check_digests(value.chunks, count, "manifest.chunks")
    if value.zstd is not None:
        _check_frames(value.zstd, count)


def _check_digests(digests: tuple[str, ...], count: int, place: str) -> None:
    if len(digests) != count:
        raise ManifestError(f"{place}: {len(digests)} digests, but the size makes {count} chunks of {CHUNK} bytes")
    for index, digest in enumerate(digests):
        _digest(digest, f"{place}[{index}]")


def _check_frames(value: Frames, count: int) -> None:
    _digest(value.sha256, "manifest.zstd.sha256")
    _check_digests(value.chunks, count, "manifest.zstd.chunks")
    if len(value.sizes) != count:
        raise ManifestError(f"manifest.zstd.sizes: {len(value.sizes)} sizes for {count} chunks")
    for index, size in enumerate(value.sizes):
        _between(1, size, LARGEST_FRAME, f"manifest.zstd.sizes[{index}]")
    if value.size != sum(value.sizes) or type(value.size) is not int:
        raise ManifestError(f"manifest.zstd.size: {value.size!r:.80} is not the sum of the sizes, {sum(value.sizes)}")


def encode(value: Manifest) -> bytes:
    """The canonical bytes of a manifest: these are signed."""
    out: dict[str, Any] = {
        "skep_image": EDITION,
        "chunk_size": CHUNK,
        "name": value.name,
        "version": value.version,
        "os": value.os,
        "format": value.format,
        "size": value.size,
        "sha256": value.sha256,
        "chunks": list(value.chunks),
        "created": value.created,
    }
    if value.virtual_size is not None:
        out["virtual_size"] = value.virtual_size
    if value.zstd is not None:
        frames = value.zstd
        out["zstd"] = {
            "size": frames.size,
            "sha256": frames.sha256,
            "sizes": list(frames.sizes),
            "chunks": list(frames.chunks),
        }
    return canonical(out)


def canonical(value: Any) -> bytes:
    """JSON text in the one form that Skep writes and accepts."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def parse(data: bytes) -> Manifest:
    """The manifest in these bytes; raises ManifestError for anything but the canonical bytes of a valid one."""
    top = load_object(data, "manifest", LARGEST_MANIFEST)
    edition = top.get("skep_image")
    if type(edition) is not int or edition != EDITION:
        raise ManifestError(f"manifest.skep_image: edition {edition!r:.80}; this Skep reads edition {EDITION}")
    required = {**_FIELDS, "skep_image": int, "chunk_size": int}
    take_fields(top, "manifest", required, {"virtual_size": int, "zstd": dict})
    if top["chunk_size"] != CHUNK:
        raise ManifestError(f"manifest.chunk_size: {top['chunk_size']} is not {CHUNK}")
    values = {key: top[key] for key in _FIELDS}
    values["chunks"] = tuple(top["chunks"])
    value = Manifest(**values, virtual_size=top.get("virtual_size"), zstd=_frames(top.get("zstd")))
    if encode(value) != data:
        raise ManifestError("manifest: not in canonical form (sorted keys, one space of indent, a final newline)")
    return value


_FIELDS: dict[str, type] = {
    "name": str,
    "version": str,
    "os": str,
    "format": str,
    "size": int,
    "sha256": str,
    "chunks": list,
    "created": str,
}


def _frames(value: dict[str, Any] | None) -> Frames | None:
    if value is None:
        return None
    take_fields(value, "manifest.zstd", {"size": int, "sha256": str, "sizes": list, "chunks": list}, {})
    return Frames(
        size=value["size"], sha256=value["sha256"], sizes=tuple(value["sizes"]), chunks=tuple(value["chunks"])
    )


def load_object(data: bytes, place: str, limit: int) -> dict[str, Any]:
    """A JSON object: no key twice, no NaN, at most `limit` bytes; raises ManifestError naming the place."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(items)
        if len(out) != len(items):
            raise ManifestError(f"{place}: a key stands twice in one object")
        return out

    if len(data) > limit:
        raise ManifestError(f"{place}: {len(data)} bytes, the most is {limit}")
    try:
        value = json.loads(data.decode("ascii"), object_pairs_hook=pairs, parse_constant=_no_constant(place))
    except ManifestError:
        raise
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{place}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ManifestError(f"{place}: not a JSON object")
    return value


def _no_constant(place: str) -> Callable[[str], Any]:
    def refuse(word: str) -> Any:
        raise ManifestError(f"{place}: {word} is not a number")

    return refuse


def take_fields(value: dict[str, Any], place: str, required: dict[str, type], optional: dict[str, type]) -> None:
    """Check that an object has every required key, no unknown one, and the JSON type of each; raises ManifestError."""
    for key, item in value.items():
        wanted = required.get(key) or optional.get(key)
        if wanted is None:
            known = ", ".join(sorted({*required, *optional}))
            raise ManifestError(f"{place}: unknown key {key!r:.80}; known are {known}")
        if type(item) is not wanted:
            raise ManifestError(f"{place}.{key}: {item!r:.80} is not {_JSON_NAMES[wanted]}")
    missing = sorted(required.keys() - value.keys())
    if missing:
        raise ManifestError(f"{place}: the key {missing[0]!r} is missing")


_JSON_NAMES: dict[type, str] = {int: "a whole number", str: "a string", list: "a list", dict: "an object"}
