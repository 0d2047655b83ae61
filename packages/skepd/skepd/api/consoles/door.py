"""A second socket of skepd, for gateways alone: they show what a caller presents, and get his console's descriptor.

So what a guest says goes from its guard to the gateway and on to the browser, never through skepd. A gateway has one
connection here. It lives through restarts of skepd with its consoles open, and says which they are when it is back.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hmac
import json
import logging
import os
import secrets
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from skep.wire import Place
from starlette.requests import HTTPConnection

from skepd.model.names import Kind, Ref

from ..authorise import PEER, may
from ..peers import peer_uid
from ..problems import ApiError, response, translate
from ..service import Service
from .admission import admit, new_console, open_line
from .packets import Message, Packets, TooLong
from .registry import SESSION_ENDED, Console

NAME = "consoles.sock"
"""Beside skepd's own socket."""
MODE = 0o666
PIECE = 32_768
KEY_SIZE = 32
BACKLOG = 16
MOST_OF_ONE = 16
"""Connections of one uid."""
PAUSE = 1.0
"""Seconds without accepting when no descriptor is free."""
MOST_WORDS = 1000
"""Characters of a refusal that repeats what the caller said."""
MOST_PLACES = 8
RUNNING = ("running", "paused", "stopping", "starting")
log = logging.getLogger("skepd.api")


class Door:
    """Belongs to one event loop. key: proves to a skepd that comes after this one what was admitted (see Proof)."""

    def __init__(self, service: Service, path: Path, key: bytes) -> None:
        self._service = service
        self._proof = Proof(key)
        self._path = path
        self._listener: socket.socket | None = None
        self._gateways: set[GatewayLine] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self._connections: Counter[int] = Counter()
        self._turned_away: set[int] = set()

    def open(self) -> None:
        """Listen. Everybody may connect and is asked who he is by the kernel. Raises OSError."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.setblocking(False)
        self._path.unlink(missing_ok=True)
        listener.bind(str(self._path))
        os.chmod(self._path, MODE)
        listener.listen(BACKLOG)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)

    def close(self) -> None:
        """Gateways keep what they have open."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)
        for task in self._asking:
            task.cancel()
        for gateway in tuple(self._gateways):
            gateway.packets.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError as error:  # gone again, or no descriptor is free for now
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._pause(listener, error)
            return
        try:
            uid = peer_uid(connection)
        except OSError:
            uid = None
        if uid is None or self._connections[uid] >= MOST_OF_ONE:
            connection.close()
            return
        self._connections[uid] += 1
        task = asyncio.get_running_loop().create_task(self._let_in(connection, uid))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        """Who waits to be accepted keeps the listener readable: asking again at once would be all that skepd does."""
        log.warning("gateways are not accepted for now: %s", error)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener.fileno())

        def again() -> None:
            if self._listener is listener:
                loop.add_reader(listener.fileno(), self._accept, listener)

        loop.call_later(PAUSE, again)

    async def _let_in(self, connection: socket.socket, uid: int) -> None:
        """Nothing is read from a peer that is no gateway."""
        line = None
        try:
            if await self._service.workers.call(self._service.authoriser.is_gateway, uid):
                line = GatewayLine(self._service, self._proof, connection, uid, self._left)
                self._gateways.add(line)
            elif uid not in self._turned_away:
                self._turned_away.add(uid)
                log.warning("uid %s is no gateway, and is turned away", uid)
        except ApiError as error:
            log.warning("a gateway has to come again: %s", error.detail)
        finally:
            if line is None:
                connection.close()
                self._forget(uid)

    def _left(self, line: GatewayLine) -> None:
        self._gateways.discard(line)
        self._forget(line.uid)

    def _forget(self, uid: int) -> None:
        self._connections[uid] -= 1
        if not self._connections[uid]:
            del self._connections[uid]


class Proof:
    """What a gateway keeps of a console that was admitted, so that it can show it to the skepd of after a restart.

    Without it a gateway that somebody has taken over could claim any console to be open, and ask for its line.
    """

    _NAMES = ("id", "guest", "kind", "user", "writes", "key", "peer", "since")

    def __init__(self, key: bytes) -> None:
        self._key = key

    def describe(self, console: Console) -> dict[str, Any]:
        described = {name: getattr(console, name) for name in self._NAMES}
        return {**described, "proof": self._digest(described)}

    def holds(self, told: dict[str, Any]) -> bool:
        described = {name: told.get(name) for name in self._NAMES}
        return hmac.compare_digest(self._digest(described), str(told.get("proof")))

    def _digest(self, described: dict[str, Any]) -> str:
        return hmac.new(self._key, json.dumps(described).encode(), "sha256").hexdigest()


def load_key(path: Path) -> bytes:
    """The key of a Proof, made when there is none (or half of one, after a power loss). Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) == KEY_SIZE:
            return key
    key = secrets.token_bytes(KEY_SIZE)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(key)
    return key


class GatewayLine:
    """The connection of one gateway. gone(self): called at its end."""

    def __init__(
        self,
        service: Service,
        proof: Proof,
        connection: socket.socket,
        uid: int,
        gone: Callable[[GatewayLine], None],
    ) -> None:
        self._service = service
        self._proof = proof
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self.uid = uid
        self._tasks: set[asyncio.Task[None]] = set()
        self.packets = Packets(connection, self._received, self._lost)

    def _lost(self) -> None:
        self._service.consoles.forget(self)
        self._gone(self)
        for task in self._tasks:
            task.cancel()

    def _received(self, message: Message, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)
        task = self._loop.create_task(self._serve(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, message: Message) -> None:
        try:
            answer, descriptors = await self._do(message)
        except Exception as error:  # noqa: BLE001 - the one place where every error becomes an answer
            answer, descriptors = await self._refusal(message, translate(error)), ()
        number = message.get("id")
        if not isinstance(number, int):
            return  # it wants no answer
        try:
            self.packets.send({"id": number, **answer}, descriptors)
        except TooLong as error:
            answer = await self._refusal(message, ApiError(500, f"skepd's answer: {error}"))
            self.packets.send({"id": number, **answer})

    async def _do(self, message: Message) -> tuple[Message, tuple[int, ...]]:
        match message.get("do"):
            case "admit":
                return await self._admit(message), ()
            case "line":
                return await self._line(self._console(message), int(message["offset"]))
            case "history":
                return await self._history(self._console(message), int(message["offset"]), int(message["length"])), ()
            case "keep":
                self._keep(message["console"])
            case "closed":
                self._service.consoles.remove(str(message["console"]))
            case other:
                raise ApiError(400, f"{other!r:.40} is not known here", "skepd and skep-gateway must be of one version")
        return {}, ()

    async def _refusal(self, message: Message, error: ApiError) -> Message:
        """As HTTP has it, and whether the guest runs."""
        places = tuple(
            Place(detail=one.detail[:MOST_WORDS], hint=one.hint[:MOST_WORDS], file=one.file[:MOST_WORDS], line=one.line)
            for one in error.errors[:MOST_PLACES]
        )
        error = replace(error, detail=error.detail[:MOST_WORDS], hint=error.hint[:MOST_WORDS], errors=places)
        answer = response(error)
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in answer.raw_headers]
        guest = message.get("guest", "")
        console = self._service.consoles.get(str(message.get("console", "")))
        runs = await self._service.workers.call(self._runs, console.guest if console else str(guest))
        return {
            "refused": answer.status_code,
            "detail": error.detail,
            "headers": headers,
            "body": bytes(answer.body).decode(),
            "runs": runs,
        }

    def _runs(self, guest: str) -> bool:
        try:
            status = self._service.engine.view(Ref(Kind.GUEST, guest)).status
        except Exception:  # noqa: BLE001 - there is no such guest, or nobody knows how it is
            return False
        return status.get("state") in RUNNING

    async def _admit(self, message: Message) -> Message:
        guest, kind = str(message["guest"]), str(message["kind"])
        scope = {
            "type": "websocket",
            "path": f"/v1/guests/{quote(guest)}/{kind}",
            "query_string": str(message["query"]).encode("latin-1"),
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in message["headers"]],
            "subprotocols": message["subprotocols"],
            PEER: self.uid,
        }
        asked = await self._service.workers.call(admit, self._service, HTTPConnection(scope), guest, kind, gateway=True)
        identity = secrets.token_hex(8)
        console = new_console(asked, str(message["peer"]), id=identity, **self._reach(identity))
        self._service.consoles.admit(console)
        if not self._service.valid(console.key):  # it has ended meanwhile
            self._service.consoles.remove(identity)
            raise ApiError(401, "the session has ended", "sign in again")
        return {"console": self._proof.describe(console), "offset": asked.offset}

    async def _line(self, console: Console, offset: int) -> tuple[Message, tuple[int, ...]]:
        line = await open_line(self._service, console, offset)
        notice = self._service.consoles.notice(console)
        return {"notice": notice, "begins": line.begins, "first": line.first}, (line.descriptor,)

    async def _history(self, console: Console, offset: int, length: int) -> Message:
        read = self._service.engine.console_history
        begins, data = await self._service.workers.call(read, console.guest, offset, min(length, PIECE))
        return {"offset": begins, "data": base64.b64encode(data).decode()}

    def _keep(self, told: dict[str, Any]) -> None:
        if not self._proof.holds(told):
            raise ApiError(403, "this console was never admitted")
        identity = str(told["id"])
        console = Console(
            id=identity,
            guest=str(told["guest"]),
            kind=str(told["kind"]),
            user=str(told["user"]),
            writes=bool(told["writes"]),
            take=bool(told["writes"]),
            key=str(told["key"]),
            peer=str(told["peer"]),
            since=float(told["since"]),
            **self._reach(identity),
        )
        role = self._service.role(console.key)
        if role is None:
            console.close(SESSION_ENDED, "the session has ended")
        elif not may(role, "operator" if console.writes else "viewer"):
            console.close(SESSION_ENDED, f"{console.user} is {role} now")
        else:
            self._service.consoles.keep(console)

    def _console(self, message: Message) -> Console:
        console = self._service.consoles.get(str(message["console"]))
        if console is None or console.holder is not self:
            raise ApiError(404, "this console is not open")
        return console

    def _reach(self, identity: str) -> dict[str, Any]:
        """How a console of this gateway is reached."""

        def close(code: int, reason: str) -> None:
            self._tell({"do": "close", "console": identity, "code": code, "reason": reason[:MOST_WORDS]})

        def tell(event: dict[str, Any]) -> None:
            self._tell({"do": "tell", "console": identity, "event": event})

        return {"holder": self, "close": close, "tell": tell}

    def _tell(self, message: Message) -> None:
        """From any thread."""
        self._loop.call_soon_threadsafe(self.packets.send, message)
