"""Serial lines, screens and agents of simulated guests: socket pairs with something small at the other end."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable

from skepd.host import HostError

_KEPT = 1 << 20


class Console:
    """A serial line that echoes: one writer, many readers, and a history. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._history = bytearray()
        self._dropped = 0
        self._boot = 0
        self._ends: list[socket.socket] = []
        self._writer: socket.socket | None = None

    def boot(self, text: bytes) -> None:
        """The guest starts: what it says from now on is what `said` looks at."""
        with self._lock:
            self._boot = self._dropped + len(self._history)
        self.say(text)

    def say(self, text: bytes) -> None:
        """Output of the guest."""
        with self._lock:
            self._history += text
            surplus = len(self._history) - _KEPT
            if surplus > 0:
                del self._history[:surplus]
                self._dropped += surplus
            for end in list(self._ends):
                try:
                    end.sendall(text, socket.MSG_DONTWAIT)
                except OSError:
                    # A reader that is gone, or too slow to follow, is cut off; the history has it all.
                    self._drop(end)

    def said(self, text: bytes) -> bool:
        with self._lock:
            return text in self._history[max(0, self._boot - self._dropped) :]

    def read(self, offset: int, length: int) -> tuple[int, bytes]:
        with self._lock:
            end = self._dropped + len(self._history)
            start = end - length if offset < 0 else offset
            start = min(max(start, self._dropped), end)
            at = start - self._dropped
            return start, bytes(self._history[at : at + length])

    def open(self, writer: bool, take: bool) -> int:
        """The caller's end, as a descriptor."""
        with self._lock:
            if writer and self._writer is not None:
                if not take:
                    raise HostError("busy", "somebody else types on this console: read only, or take it over")
                self._drop(self._writer)
            ours, theirs = socket.socketpair()
            self._ends.append(ours)
            if writer:
                self._writer = ours
        threading.Thread(target=self._serve, args=(ours, writer), name="sim-console", daemon=True).start()
        return theirs.detach()

    def _serve(self, end: socket.socket, writer: bool) -> None:
        while True:
            try:
                typed = end.recv(4096)
            except OSError:
                typed = b""
            if not typed:
                break
            if writer:
                self.say(typed)
        with self._lock:
            self._drop(end)
        end.close()

    def _drop(self, end: socket.socket) -> None:
        """Cut an end off; its thread closes it."""
        if end in self._ends:
            self._ends.remove(end)
            self._writer = None if end is self._writer else self._writer
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def close(self) -> None:
        with self._lock:
            for end in list(self._ends):
                self._drop(end)


def open_screen() -> int:
    """A screen that says its RFB version and echoes."""
    return _open(lambda data: data, b"RFB 003.008\n")


def open_agent() -> int:
    """A guest agent that knows guest-ping and guest-sync."""
    return _open(_agent_answer, b"")


def _agent_answer(data: bytes) -> bytes:
    answers: list[dict[str, object]] = []
    for line in data.splitlines():
        try:
            request = json.loads(line)
        except ValueError:
            continue
        command = request.get("execute")
        if command == "guest-ping":
            answers.append({"return": {}})
        elif command in ("guest-sync", "guest-sync-delimited"):
            answers.append({"return": request.get("arguments", {}).get("id")})
        else:
            answers.append({"error": {"class": "CommandNotFound", "desc": f"{command} is not known"}})
    return b"".join(json.dumps(answer).encode() + b"\n" for answer in answers)


def _open(answer: Callable[[bytes], bytes], greeting: bytes) -> int:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with ours:
            try:
                ours.sendall(greeting)
                while data := ours.recv(4096):
                    ours.sendall(answer(data))
            except OSError:
                return

    threading.Thread(target=serve, name="sim-stream", daemon=True).start()
    return theirs.detach()
