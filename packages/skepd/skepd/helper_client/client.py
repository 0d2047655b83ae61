"""The host of this machine, reached through skep-helper."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from skep_helper import wire
from skep_helper.vocabulary import Hello, HelloReading

from skepd.host import HostError, Progress

from .channel import Channel, Reply

_PAUSE = 0.05


class HelperClient:
    """Implements ``skepd.host.Host``. Each call has a connection of its own while it lasts; idle ones are kept.

    patience: seconds for which a helper that does not listen (it is being restarted) is tried again.
    A request that was sent when the helper went away raises HostError("lost"): it may or may not be done; requests
    are repeatable, so the caller may send it again.
    """

    def __init__(self, path: Path, *, patience: float = 5.0) -> None:
        self._path = str(path)
        self._patience = patience
        self._lock = threading.Lock()
        self._idle: list[Channel] = []
        self._busy: set[Channel] = set()

    def hello(self) -> HelloReading:
        (reading,) = self.perform([Hello(version=wire.VERSION)])
        assert isinstance(reading, HelloReading)
        return reading

    def perform(self, requests: Sequence[Any], progress: Progress | None = None) -> tuple[Any, ...]:
        if not requests:
            return ()
        answers, descriptors = self._exchange(requests, progress)
        for descriptor in descriptors:
            os.close(descriptor)
        return answers

    def open(self, request: Any) -> tuple[Any, int]:
        answers, descriptors = self._exchange([request], None)
        if len(descriptors) != 1:
            for descriptor in descriptors:
                os.close(descriptor)
            name = type(request).__name__
            raise HostError("failed", f"{len(descriptors)} descriptors were answered instead of one", name)
        return answers[0], descriptors[0]

    def stream(self, request: Any, descriptor: int, progress: Progress | None = None) -> Any:
        answers, descriptors = self._exchange([request], progress, descriptor)
        for surplus in descriptors:
            os.close(surplus)
        return answers[0]

    def cancel(self) -> None:
        with self._lock:
            busy = tuple(self._busy)
        for channel in busy:
            # One that has just ended needs no cancel.
            with suppress(OSError):
                channel.cancel()

    def close(self) -> None:
        """Also ends calls of other threads, which raise HostError("lost")."""
        with self._lock:
            channels = (*self._idle, *self._busy)
            self._idle.clear()
        for channel in channels:
            channel.close()

    def _exchange(
        self, requests: Sequence[Any], progress: Progress | None, descriptor: int | None = None
    ) -> tuple[tuple[Any, ...], tuple[int, ...]]:
        name = type(requests[0]).__name__
        try:
            with self._channel(requests, descriptor) as channel:
                reply = channel.receive(progress)
        except (wire.Closed, OSError) as error:
            message = "skep-helper went away before it answered; the request may or may not be done"
            raise HostError("lost", f"{message} ({error})", name) from None
        self._raise_failure(requests, reply)
        return reply.answers, reply.descriptors

    @staticmethod
    def _raise_failure(requests: Sequence[Any], reply: Reply) -> None:
        if reply.failed >= 0:
            failed = requests[min(reply.failed, len(requests) - 1)]
            raise HostError(reply.code, reply.message, type(failed).__name__, reply.failed)

    @contextmanager
    def _channel(self, requests: Sequence[Any], descriptor: int | None) -> Iterator[Channel]:
        """A connection on which these requests were sent. It is kept when all went well."""
        channel = self._sent(requests, descriptor)
        try:
            yield channel
        except BaseException:
            self._forget(channel)
            raise
        with self._lock:
            self._busy.discard(channel)
            self._idle.append(channel)

    def _sent(self, requests: Sequence[Any], descriptor: int | None) -> Channel:
        """Send on an idle connection, or a new one when the helper behind the idle ones is gone: what could not be
        sent was not begun."""
        while True:
            with self._lock:
                channel = self._idle.pop() if self._idle else None
            if channel is None:
                break
            if channel.is_alive() and self._send(channel, requests, descriptor):
                return channel
            channel.close()
        channel = self._connect()
        if self._send(channel, requests, descriptor):
            return channel
        raise wire.Closed("it closed the connection at once; does it know this user?")

    def _send(self, channel: Channel, requests: Sequence[Any], descriptor: int | None) -> bool:
        """False when the other end is gone; nothing was begun then."""
        with self._lock:
            self._busy.add(channel)
        try:
            channel.send(requests, descriptor)
        except OSError:
            self._forget(channel)
            return False
        except BaseException:
            self._forget(channel)
            raise
        return True

    def _forget(self, channel: Channel) -> None:
        with self._lock:
            self._busy.discard(channel)
        channel.close()

    def _connect(self) -> Channel:
        end = time.monotonic() + self._patience
        while True:
            try:
                return Channel(self._path)
            except (FileNotFoundError, ConnectionRefusedError) as error:
                if time.monotonic() >= end:
                    message = f"skep-helper does not listen at {self._path} ({error.strerror}); start it"
                    raise HostError("lost", message) from None
            except PermissionError:
                message = f"this user may not speak to skep-helper at {self._path}; it must be the policy's user"
                raise HostError("rejected", message) from None
            time.sleep(_PAUSE)
