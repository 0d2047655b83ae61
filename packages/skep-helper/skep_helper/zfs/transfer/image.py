"""An image of format zfs: its stream goes straight into `zfs receive`.

What broke off begins anew: a stream on a web server cannot be cut to what a resume token asks for, only another OpenZFS
can send that.
"""

from __future__ import annotations

import hashlib

from ...handlers import Context, Failure
from ...vocabulary import ReceiveImage, Rejected
from .. import removal
from ..names import SEALED
from . import header, receive
from .send import check_channel


def to_volume(context: Context, request: ReceiveImage, volume: str, what: str) -> None:
    """The volume is made anew. All that OpenZFS gets is digested on its way. Raises Rejected and Failure; then there is
    no volume: OpenZFS itself forgets what it got of a stream that ends early."""
    (source,) = context.descriptors
    check_channel(source)
    begun = receive.read_head(context, source, request.size)
    try:
        head = header.parse(begun)
        if head.kind != "volume" or head.base or head.resumes:
            raise Rejected("the stream is not of one volume as a whole")
    except Rejected as error:
        raise Rejected(f"{what} is refused: {error}") from None
    found = hashlib.sha256()
    # As the snapshot that an image is: one of another name would pass for somebody else's.
    arguments = ("-o", "skep:format=zfs", f"{volume}@{SEALED}")
    receive.pass_on(context, source, begun, arguments, what, request.size, found.update)
    if found.hexdigest() != request.digest:
        removal.remove(context.policy, volume)
        raise Failure("conflict", f"{what} is not what was verified; fetch it again")
