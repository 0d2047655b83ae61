"""What a file says about itself: its format and the size of the disk inside."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from .manifest import SECTOR

_QCOW2 = b"QFI\xfb"
_EXTERNAL_DATA = 1 << 2
_ISO_PLACE, _ISO_MARK = 0x8001, b"CD001"


class InspectError(ValueError):
    """A file that cannot be published as an image. The text says why and what to do."""


def detect(source: Path) -> str:
    """The format of a file: by its content for qcow2 and iso, by its suffix for zfs, otherwise raw."""
    with open(source, "rb") as stream:
        if stream.read(4) == _QCOW2:
            return "qcow2"
        if _is_iso(stream) and source.suffix == ".iso":
            return "iso"
    return "zfs" if source.suffix in (".zfs", ".zstream") else "raw"


def _is_iso(stream: BinaryIO) -> bool:
    stream.seek(_ISO_PLACE)
    return stream.read(len(_ISO_MARK)) == _ISO_MARK


def virtual_size(source: Path, form: str) -> int | None:
    """Bytes of the disk inside, None for zfs.

    Raises InspectError for a file that is not of this format, and for a qcow2 that needs another file: a backing
    file or external data would make the host open a path that the image names.
    """
    with open(source, "rb") as stream:
        header, iso = stream.read(80), _is_iso(stream)
    if form != "qcow2":
        if header[:4] == _QCOW2:
            raise InspectError(f"{source} is a qcow2 image, not {form}; publish it with --format qcow2")
        if form == "iso" and not iso:
            raise InspectError(f"{source} is not an ISO 9660 image")
        if form == "raw" and source.stat().st_size % SECTOR:
            raise InspectError(
                f"{source} is no disk: its size is not a multiple of {SECTOR}; truncate -s %{SECTOR} pads it"
            )
        return None if form == "zfs" else source.stat().st_size
    if header[:4] != _QCOW2 or len(header) < 80:
        raise InspectError(f"{source} is not a qcow2 image; see what it is with: qemu-img info {source}")
    version, backing = struct.unpack(">IQ", header[4:16])
    size: int = struct.unpack(">Q", header[24:32])[0]
    if backing:
        raise InspectError(f"{source} has a backing file; flatten it with: qemu-img convert -O qcow2 {source} NEW")
    if version >= 3 and struct.unpack(">Q", header[72:80])[0] & _EXTERNAL_DATA:
        raise InspectError(f"{source} keeps its data in another file; use: qemu-img convert -O qcow2 {source} NEW")
    return size
