"""A folder of published images: a plain static web site, served by any web server or copied to any medium.

FOLDER/index.json                          names and versions; not signed, a hint for people and completion only
FOLDER/NAME/VERSION/manifest.json          canonical bytes, signed
FOLDER/NAME/VERSION/manifest.json.sig
FOLDER/NAME/VERSION/NAME-VERSION.FORMAT    or .FORMAT.zst
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .manifest import ManifestError, canonical, check_name, check_version, load_object, take_fields

INDEX = "index.json"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"
LARGEST_INDEX = 4 << 20

Index = Mapping[str, tuple[str, ...]]
"""Versions by name, each sorted as text."""


def parse_index(data: bytes) -> Index:
    """The index in these bytes; raises ManifestError. Nobody signed it: never choose what to run by it alone."""
    top = load_object(data, "index", LARGEST_INDEX)
    take_fields(top, "index", {"skep_images": int, "images": dict}, {})
    if top["skep_images"] != 1:
        raise ManifestError(f"index.skep_images: edition {top['skep_images']}; this Skep reads edition 1")
    out: dict[str, tuple[str, ...]] = {}
    for name, versions in top["images"].items():
        place = f"index.images.{check_name(name, 'index.images')}"
        if not isinstance(versions, list):
            raise ManifestError(f"{place}: not a list of versions")
        out[name] = tuple(check_version(item, f"{place}[{number}]") for number, item in enumerate(versions))
    return out


def encode_index(index: Index) -> bytes:
    return canonical({"skep_images": 1, "images": {name: list(versions) for name, versions in index.items()}})


def read_folder(folder: Path) -> Index:
    """What is completely published in a folder, by looking; other files in it are left alone."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob(f"*/*/{MANIFEST}")):
        version, name = path.parent.name, path.parent.parent.name
        try:
            check_name(name)
            check_version(version)
        except ManifestError:
            continue
        if (path.parent / SIGNATURE).is_file():
            found.setdefault(name, []).append(version)
    return {name: tuple(versions) for name, versions in found.items()}


def write_file(path: Path, data: bytes) -> None:
    """Replace a file durably: readers see the old or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.new")
    with open(temporary, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
