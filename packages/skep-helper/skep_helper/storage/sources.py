"""What a new disk may be made from, whatever keeps it."""

from __future__ import annotations

from ..vocabulary import CreateDisk
from ..vocabulary.fields import Rejected


def require_source(request: CreateDisk) -> None:
    """One source at most, named fully, and a size where there is none. Raises Rejected."""
    if (request.image is None) != (request.version is None):
        raise Rejected("CreateDisk: image and version belong together")
    if request.image and request.source_guest:
        raise Rejected("CreateDisk: either image or source_guest, not both")
    if request.source_guest == request.guest:
        raise Rejected("CreateDisk: a guest's disk cannot be its own source")
    if not request.size and not request.image and not request.source_guest:
        raise Rejected("CreateDisk: a blank disk needs a size")
