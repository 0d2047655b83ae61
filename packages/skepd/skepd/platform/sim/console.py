"""Serial lines and agents of simulated guests: socket pairs with something small at the other end."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable

from skep_helper.vocabulary import OpenConsole

from skepd.host import HostError

_KEPT = 1 << 20


class Console:
    """A serial line that echoes: one writer, many readers, and a history. Thread-safe.

    As in a guard, a reader is an offset into the history: one that does not read costs nothing.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._history = bytearray()
        self._dropped = 0
        self._boot = 0
        self._ends: list[socket.socket] = []
        self._writer: socket.socket | None = None
        self.deaf = False
        """A guest that reads nothing of its line."""

    def boot(self, text: bytes) -> None:
        """The guest starts: what it says from now on is what `said` looks at."""
        with self._changed:
            self._boot = self._end
        self.say(text)

    def say(self, text: bytes) -> None:
        """Output of the guest."""
        with self._changed:
            self._history += text
            surplus = len(self._history) - _KEPT
            if surplus > _KEPT // 4:
                del self._history[:surplus]
                self._dropped += surplus
            self._changed.notify_all()

    def said(self, text: bytes) -> bool:
        with self._changed:
            return text in self._history[max(0, self._boot - self._dropped) :]

    def read(self, offset: int, length: int) -> tuple[int, bytes]:
        with self._changed:
            start = self._place(self._end - length if offset < 0 else offset)
            at = start - self._dropped
            return start, bytes(self._history[at : at + length])

    @property
    def _end(self) -> int:
        return self._dropped + len(self._history)

    def _place(self, offset: int) -> int:
        return min(max(offset, self._dropped), self._end)

    def open(self, request: OpenConsole) -> tuple[dict[str, int], int]:
        """The offset of the first byte, and the caller's end as a descriptor."""
        with self._changed:
            if request.writer and self._writer is not None:
                if not request.take:
                    raise HostError("busy", "somebody else types on this console: read only, or take it over")
                self._drop(self._writer)
            ours, theirs = socket.socketpair()
            self._ends.append(ours)
            if request.writer:
                self._writer = ours
            offset = self._end if request.offset is None else request.offset
            begins = self._place(offset if offset >= 0 else self._end + offset)
        for name, work in (("hear", self._hear), ("tell", self._tell)):
            number = request.writer if work == self._hear else begins
            threading.Thread(target=work, args=(ours, number), name=f"sim-console-{name}", daemon=True).start()
        return {"offset": begins}, theirs.detach()

    def _tell(self, end: socket.socket, offset: int) -> None:
        while True:
            with self._changed:
                while end in self._ends and self._end <= offset:
                    self._changed.wait()
                if end not in self._ends:
                    return
            offset, data = self.read(offset, 65_536)
            try:
                end.sendall(data)
            except OSError:
                return
            offset += len(data)

    def _hear(self, end: socket.socket, writer: bool) -> None:
        while True:
            with self._changed:
                while self.deaf and end in self._ends:
                    self._changed.wait()
            try:
                typed = end.recv(4096)
            except OSError:
                typed = b""
            if not typed:
                break
            if writer:
                self.say(typed)
        with self._changed:
            self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        """Cut an end off; its threads see it."""
        if end in self._ends:
            self._ends.remove(end)
            self._writer = None if end is self._writer else self._writer
            self._changed.notify_all()
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def close(self) -> None:
        with self._changed:
            for end in list(self._ends):
                self._drop(end)


def open_agent() -> int:
    """A guest agent that knows guest-ping and guest-sync."""
    return _open(_agent_answer)


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


def _open(answer: Callable[[bytes], bytes]) -> int:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with ours:
            try:
                while data := ours.recv(4096):
                    ours.sendall(answer(data))
            except OSError:
                return

    threading.Thread(target=serve, name="sim-stream", daemon=True).start()
    return theirs.detach()
