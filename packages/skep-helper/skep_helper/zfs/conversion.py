"""A qcow2 file that becomes a volume. Read by ourselves: qemu-img would need the volume's device lent to its user,
and is not in FreeBSD's base system."""

from __future__ import annotations

import os
from contextlib import ExitStack

from ..handlers import Context
from ..paths import Folder
from ..storage import content
from ..storage.clusters import read_clusters
from ..vocabulary import Rejected
from . import images, nodes, removal


def to_volume(context: Context, folder: Folder, file: str, volume: str, what: str) -> None:
    """The volume is made anew; raises Rejected for a file that is damaged or refers to another."""
    with ExitStack() as stack:
        source = content.open_sealed(folder, file, what, context.progress)
        stack.callback(os.close, source)
        size = content.inspect(source, "qcow2", os.fstat(source).st_size, what)
        removal.remove(context.policy, volume, context.progress)
        images.make_volume(volume, "qcow2", size, context)
        target = nodes.open_volume(volume, os.O_RDWR, context.progress)
        stack.callback(os.close, target)
        try:
            for place, data in read_clusters(source):
                write_whole(target, data, place)
                context.progress(place, size)
        except Rejected as error:
            raise Rejected(f"{what} is refused: {error}") from None


def write_whole(descriptor: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, place)
        view, place = view[count:], place + count
