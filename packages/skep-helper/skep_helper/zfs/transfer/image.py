"""An image of format zfs: its stream was fetched into a file, where a broken download goes on, and becomes a volume.

A file, because a stream on a web server cannot be cut to what a token asks for: only another OpenZFS can send that.
"""

from __future__ import annotations

import hashlib
import os

from ...handlers import Context, Failure
from ...paths import Folder
from ...vocabulary import Rejected
from .. import removal
from ..names import SEALED
from . import header, receive


def to_volume(context: Context, folder: Folder, file: str, volume: str, digest: str, what: str) -> None:
    """The volume is made anew. All that OpenZFS gets is digested on its way, so that it is what the caller verified,
    whoever may still write the file. Raises Rejected and Failure; then there is no volume."""
    source = folder.open(file)
    try:
        size = os.fstat(source).st_size
        begun = receive.read_head(context, source, size)
        try:
            head = header.parse(begun)
            if head.kind != "volume" or head.base or head.resumes:
                raise Rejected("the stream is not of one volume as a whole")
        except Rejected as error:
            raise Rejected(f"{what} is refused: {error}") from None
        removal.remove(context.policy, volume, context.progress)
        found = hashlib.sha256()
        # As the snapshot that an image is: one of another name would pass for somebody else's.
        arguments = ("-o", "skep:format=zfs", f"{volume}@{SEALED}")
        receive.pass_on(context, source, begun, arguments, what, size, found.update)
    finally:
        os.close(source)
    if found.hexdigest() != digest:
        removal.remove(context.policy, volume)
        raise Failure("conflict", f"{what} is not what was verified: somebody wrote meanwhile; publish it again")
