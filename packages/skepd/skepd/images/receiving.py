"""The host's receiver of an image of format zfs: it reads one end of a pipe while the pull writes the other."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from skep.images.manifest import Manifest
from skep_helper.vocabulary import ReceiveImage

from skepd.host import Host, HostError

from .options import PullCancelled

_TICK = 0.1
_GRACE = 10.0
"""Seconds for the host to end a receiver whose stream broke off."""


class Receiver:
    """writer: the descriptor for the stream. error: what the host refused it with."""

    def __init__(self, host: Host, manifest: Manifest) -> None:
        self._host = host
        self._request = ReceiveImage(
            image=manifest.name, version=manifest.version, digest=manifest.sha256, size=manifest.size
        )
        self._reader, self.writer = os.pipe()
        self._open = True
        self.error: HostError | None = None
        self._thread = threading.Thread(target=self._receive, name="image-receive", daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        try:
            self._host.stream(self._request, self._reader)
        except HostError as error:
            self.error = error
        finally:
            # Now whoever still writes learns that nobody reads.
            os.close(self._reader)

    def finish(self, cancelled: Callable[[], bool]) -> None:
        """All was written: wait until the image is there. Raises HostError and PullCancelled."""
        self.close()
        while self._thread.is_alive():
            self._thread.join(_TICK)
            if cancelled():
                raise PullCancelled("the pull was cancelled")
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """The end of the stream; the host forgets one that is not whole."""
        if self._open:
            self._open = False
            os.close(self.writer)

    def leave(self) -> None:
        self.close()
        self._thread.join(_GRACE)


@contextmanager
def receiving(host: Host, manifest: Manifest) -> Iterator[Receiver]:
    receiver = Receiver(host, manifest)
    try:
        yield receiver
    finally:
        receiver.leave()
